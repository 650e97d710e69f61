//! Where access keys for AWS come from when the environment has none. Lambda's always has them.
//!
//! With the feature `profiles`, all that the SDK's own loader finds. It is off in what ships: the loader brings the
//! client of another service, and a tenth of the zip.

#[cfg(feature = "profiles")]
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_secretsmanager::config::{Region, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// What the SDK's own loader finds: profiles, a web identity, a container's or an instance's role.
#[cfg(feature = "profiles")]
pub(super) async fn elsewhere(region: Region, http: SharedHttpClient) -> SharedCredentialsProvider {
    let chain = DefaultCredentialsChain::builder().configure(configured(region, http));
    SharedCredentialsProvider::new(chain.build().await)
}

/// A container's role.
#[cfg(not(feature = "profiles"))]
pub(super) async fn elsewhere(region: Region, http: SharedHttpClient) -> SharedCredentialsProvider {
    let container = aws_config::ecs::EcsCredentialsProvider::builder().configure(&configured(region, http));
    SharedCredentialsProvider::new(container.build())
}

/// The profile's region.
#[cfg(feature = "profiles")]
pub(super) async fn region() -> Option<Region> {
    use aws_config::meta::region::ProvideRegion as _;
    aws_config::profile::ProfileFileRegionProvider::new().region().await
}

/// None: nowhere else is looked.
#[cfg(not(feature = "profiles"))]
pub(super) async fn region() -> Option<Region> {
    None
}

fn configured(region: Region, http: SharedHttpClient) -> ProviderConfig {
    ProviderConfig::default().with_region(Some(region)).with_http_client(http)
}
