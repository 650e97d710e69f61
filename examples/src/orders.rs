//! Placing an order.

use lambda_rds::Db;
use lambda_rds::error::{Error, Fault, Result};
use lambda_rds::sea_orm::sea_query::ExprTrait as _;
use lambda_rds::sea_orm::{ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, Set};
use serde::{Deserialize, Serialize};

/// What somebody wants.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The order's number, chosen by whoever orders: sent twice, it is placed once.
    pub id: i32,
    /// The product's number.
    pub product: i32,
    /// How many of it; at least 1.
    pub quantity: i32,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// What is left of the product.
    pub left: i32,
}

/// Takes the order's quantity from the stock and writes the order down: both, or neither.
///
/// # Errors
/// [`Fault::Rejected`], with a text for the caller, if there is not enough; and whatever befalls the database.
pub async fn place(db: &Db, order: &Order) -> Result<Placed> {
    if order.quantity < 1 {
        return Err(Error::told(Fault::BadParameter, "`quantity` must be at least 1."));
    }
    // The closure may run several times: whatever it does outside of `tx` would happen as often.
    db.transaction(async |tx| {
        let taken = product::Entity::update_many()
            .col_expr(product::Column::Stock, product::Column::Stock.into_expr().sub(order.quantity))
            .filter(product::Column::Id.eq(order.product))
            .filter(product::Column::Stock.gte(order.quantity))
            .exec(&tx)
            .await?;
        if taken.rows_affected == 0 {
            return Err(Error::told(Fault::Rejected, "There is not enough of it."));
        }
        let row = placed::ActiveModel {
            id: Set(order.id),
            product: Set(order.product),
            quantity: Set(order.quantity),
        };
        row.insert(&tx).await?;
        let product = product::Entity::find_by_id(order.product).one(&tx).await?;
        Ok(Placed { left: product.map_or(0, |product| product.stock) })
    })
    .await
}

/// What is for sale.
#[expect(missing_docs, reason = "sea-orm's macros make items of their own")]
pub mod product {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "products")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub name: String,
        pub stock: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The orders that were placed.
#[expect(missing_docs, reason = "sea-orm's macros make items of their own")]
pub mod placed {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "orders")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub product: i32,
        pub quantity: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
