//! Who answered, in the message and as metadata.

use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use super::freshness::TOKEN;
use crate::{
    domain::{Position, Role, TableName, view::Served},
    proto::v1 as pb,
};

/// Name of the connection that did the work.
pub const CONNECTION: &str = "x-lancegate-connection";
/// The routing decision in words.
pub const ROUTE: &str = "x-lancegate-route";
/// Versions behind the primary.
pub const LAG_VERSIONS: &str = "x-lancegate-lag-versions";
/// The table's version, under the name that LanceDB's own clients read.
pub const VERSION: &str = "x-lancedb-version";

/// The message that every answer carries.
pub fn served(table: &str, served: &Served) -> pb::Served {
    pb::Served {
        connection: served.route.name.to_string(),
        role: role(served.route.role).into(),
        version: served.version,
        route: served.route.to_string(),
        lag_versions: served.lag.versions,
        // No lag is longer than the seconds of a protobuf duration.
        lag: served.lag.age.try_into().ok(),
        token: token(table, served).unwrap_or_default(),
    }
}

/// The token of what was seen.
fn token(table: &str, served: &Served) -> Option<String> {
    let origin = served.origin.as_ref()?;
    let position = Position {
        incarnation: origin.incarnation,
        version: served.version,
    };
    let table = TableName::parse(table).ok()?;
    Some(origin.key.seal(&table, &position))
}

/// The contract's word for a role.
pub fn role(role: Role) -> pb::Role {
    match role {
        Role::Primary => pb::Role::Primary,
        Role::Replica => pb::Role::Replica,
        Role::Shadow => pb::Role::Shadow,
    }
}

/// Adds the same facts to the metadata of an answer. A connection's name that is
/// not ASCII cannot be metadata: it is in the message only.
pub fn attach(metadata: &mut MetadataMap, served: &pb::Served) {
    for (key, text) in [
        (CONNECTION, &served.connection),
        (ROUTE, &served.route),
        (TOKEN, &served.token),
    ] {
        if !text.is_empty()
            && let Ok(value) = MetadataValue::<Ascii>::try_from(text)
        {
            metadata.insert(key, value);
        }
    }
    metadata.insert(LAG_VERSIONS, served.lag_versions.into());
    metadata.insert(VERSION, served.version.into());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{
        Incarnation, TokenKey,
        view::{Detour, Lag, Origin, Policy, Route},
    };

    #[test]
    fn message_and_metadata_agree() {
        let mut answer = Served {
            route: Route {
                connection: 2,
                name: "replica-2".into(),
                role: Role::Replica,
                policy: Policy::RoundRobin { position: 2, of: 3 },
                detour: Detour::default(),
            },
            version: 17,
            lag: Lag {
                versions: 4,
                age: Duration::from_millis(1_500),
            },
            origin: Some(Origin {
                incarnation: Incarnation::fresh(),
                key: TokenKey::of("p"),
            }),
        };
        let message = served("t", &answer);
        assert_eq!(message.connection, "replica-2");
        assert_eq!(message.role(), pb::Role::Replica);
        assert_eq!(message.route, "round_robin(replica-2 2/3)");
        assert_eq!((message.version, message.lag_versions), (17, 4));
        assert_eq!(
            message.lag.map(|lag| (lag.seconds, lag.nanos)),
            Some((1, 500_000_000))
        );

        let mut metadata = MetadataMap::new();
        attach(&mut metadata, &message);
        let text = |key| metadata.get(key).and_then(|v| v.to_str().ok());
        assert_eq!(text("x-lancegate-connection"), Some("replica-2"));
        assert_eq!(
            text("x-lancegate-route"),
            Some("round_robin(replica-2 2/3)")
        );
        assert_eq!(text("x-lancegate-lag-versions"), Some("4"));
        assert_eq!(text("x-lancedb-version"), Some("17"));

        let table = TableName::parse("t").unwrap();
        let position = TokenKey::of("p").open(&table, &message.token).unwrap();
        assert_eq!(position.version, 17);
        assert_eq!(text("x-lancegate-token"), Some(message.token.as_str()));

        answer.route.name = "näher\n".into();
        answer.origin = None;
        let mut metadata = MetadataMap::new();
        attach(&mut metadata, &served("t", &answer));
        assert_eq!(metadata.len(), 2);
    }
}
