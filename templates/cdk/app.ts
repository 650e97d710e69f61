// A packed zip of lambda-rds in an existing VPC, next to an existing database: the same as ../sam/template.yaml. Call
// `LambdaRds` from an app of your own, or change the values at the end and run `npx cdk deploy`.

import * as cdk from "aws-cdk-lib";
import { aws_cloudwatch as cloudwatch, aws_ec2 as ec2, aws_iam as iam, aws_lambda as lambda, aws_logs as logs } from "aws-cdk-lib";
import { aws_secretsmanager as secretsmanager } from "aws-cdk-lib";
import { Construct } from "constructs";

export interface LambdaRdsProps {
    /** The zip, from `lambda-rds pack` or `cargo xtask zip`. */
    readonly zip: string;
    readonly engine: "postgres" | "mysql" | "aurora-postgres" | "aurora-mysql";
    readonly architecture: lambda.Architecture;
    /** The VPC of the database. */
    readonly vpc: ec2.IVpc;
    /** Private subnets from which the database is reached, in two zones at least. */
    readonly subnets: ec2.SubnetSelection;
    readonly database: {
        /** The endpoint of the database, the cluster or the RDS Proxy. */
        readonly host: string;
        readonly port: number;
        readonly name: string;
        /** It gets a rule that lets the function in. */
        readonly securityGroup: ec2.ISecurityGroup;
        /** User and password. */
        readonly secret: secretsmanager.ISecret;
    };
    /** How many calls may run at once. Twice as many sessions must fit into the database's max_connections. */
    readonly environments: number;
    /** More settings, such as `LAMBDA_RDS_LOG`. */
    readonly settings?: Record<string, string>;
}

/** The function, who may speak to whom, its secret's way, its log and two alarms. */
export class LambdaRds extends Construct {
    readonly function: lambda.Function;

    constructor(scope: Construct, id: string, props: LambdaRdsProps) {
        super(scope, id);
        const { vpc, subnets, database } = props;
        const group = new ec2.SecurityGroup(this, "FunctionGroup", {
            vpc,
            description: "lambda-rds: nothing comes in",
            allowAllOutbound: false,
        });
        const secretsGroup = new ec2.SecurityGroup(this, "SecretsGroup", {
            vpc,
            description: "lambda-rds: the endpoint of Secrets Manager",
            allowAllOutbound: false,
        });
        const port = ec2.Port.tcp(database.port);
        group.addEgressRule(database.securityGroup, port, "To the database");
        database.securityGroup.addIngressRule(group, port, "From lambda-rds");
        group.addEgressRule(secretsGroup, ec2.Port.tcp(443), "To Secrets Manager");
        secretsGroup.addIngressRule(group, ec2.Port.tcp(443), "From lambda-rds");

        // Without a private DNS name, which would draw the calls of everybody in the VPC to it.
        const endpoint = new ec2.InterfaceVpcEndpoint(this, "SecretsEndpoint", {
            vpc,
            subnets,
            service: ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
            securityGroups: [secretsGroup],
            privateDnsEnabled: false,
            open: false,
        });
        endpoint.addToPolicy(
            new iam.PolicyStatement({
                sid: "ThisSecret",
                principals: [new iam.AnyPrincipal()],
                actions: ["secretsmanager:GetSecretValue"],
                resources: [database.secret.secretArn],
            }),
        );
        const address = cdk.Fn.select(1, cdk.Fn.split(":", cdk.Fn.select(0, endpoint.vpcEndpointDnsEntries)));

        this.function = new lambda.Function(this, "Function", {
            description: "lambda-rds",
            code: lambda.Code.fromAsset(props.zip),
            runtime: lambda.Runtime.PROVIDED_AL2023,
            handler: "bootstrap",
            architecture: props.architecture,
            memorySize: 256,
            timeout: cdk.Duration.seconds(30),
            reservedConcurrentExecutions: props.environments,
            environment: {
                ...props.settings,
                DB_ENGINE: props.engine,
                DB_HOST: database.host,
                DB_PORT: String(database.port),
                DB_NAME: database.name,
                DB_SECRET_ID: database.secret.secretArn,
                DB_MAX_CONNECTIONS: "1",
                // Together they must fit into the timeout.
                DB_CONNECT_TIMEOUT: "5s",
                DB_QUERY_TIMEOUT: "10s",
                DB_DEADLINE_RESERVE: "250ms",
                AWS_ENDPOINT_URL_SECRETS_MANAGER: `https://${address}`,
            },
            vpc,
            vpcSubnets: subnets,
            securityGroups: [group],
            loggingFormat: lambda.LoggingFormat.JSON,
            applicationLogLevelV2: lambda.ApplicationLogLevel.INFO,
            systemLogLevelV2: lambda.SystemLogLevel.INFO,
            logGroup: new logs.LogGroup(this, "Log", {
                retention: logs.RetentionDays.ONE_MONTH,
                removalPolicy: cdk.RemovalPolicy.DESTROY,
            }),
        });
        database.secret.grantRead(this.function);

        const alarm = {
            evaluationPeriods: 1,
            comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
        };
        new cloudwatch.Alarm(this, "Faults", {
            ...alarm,
            alarmDescription: "Calls that failed for a reason that is not the caller's. The log line of each says why.",
            threshold: 5,
            metric: new cloudwatch.Metric({
                namespace: "lambda-rds",
                metricName: "Faults",
                dimensionsMap: { function: this.function.functionName },
                statistic: "Sum",
                period: cdk.Duration.minutes(5),
            }),
        });
        new cloudwatch.Alarm(this, "Errors", {
            ...alarm,
            alarmDescription: "Invocations that ended in a function error: raised failures, a crash, a timeout, a failed INIT.",
            threshold: 1,
            metric: this.function.metricErrors({ period: cdk.Duration.minutes(5) }),
        });
        new cdk.CfnOutput(this, "FunctionName", { value: this.function.functionName });
    }
}

const app = new cdk.App();
const stack = new cdk.Stack(app, "LambdaRds", { description: "lambda-rds, SQL queries by name on a private database" });
new LambdaRds(stack, "LambdaRds", {
    zip: "../../target/lambda/lambda-rds-postgres-arm64.zip",
    engine: "postgres",
    architecture: lambda.Architecture.ARM_64,
    vpc: ec2.Vpc.fromVpcAttributes(stack, "Vpc", {
        vpcId: "vpc-0123456789abcdef0",
        availabilityZones: ["eu-central-1a", "eu-central-1b"],
        privateSubnetIds: ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        privateSubnetRouteTableIds: ["rtb-0123456789abcdef0", "rtb-0123456789abcdef1"],
    }),
    subnets: { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
    database: {
        host: "shop.cluster-abcdefghijkl.eu-central-1.rds.amazonaws.com",
        port: 5432,
        name: "shop",
        securityGroup: ec2.SecurityGroup.fromSecurityGroupId(stack, "DatabaseGroup", "sg-0123456789abcdef0"),
        secret: secretsmanager.Secret.fromSecretCompleteArn(
            stack,
            "Secret",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop-AbCdEf",
        ),
    },
    environments: 10,
});
