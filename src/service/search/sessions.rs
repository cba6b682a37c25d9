//! Sessions: what is asked of them, and how they are told to clients.

use std::time::{Duration, SystemTime};

use crate::{
    config::AccessRole::Reader,
    domain::{Error, Result, Session, TableName, view::Served},
    proto::v1 as pb,
    service::{
        allowed::{allowed, owner},
        api::{Api, Call},
    },
    wire,
};

/// A session as a client gets it.
pub(super) struct Told {
    pub text: String,
    pub expires: SystemTime,
}

impl Api {
    pub(super) async fn run_open_session(
        &self,
        call: &Call<pb::OpenSessionRequest>,
    ) -> Result<(Told, Served)> {
        let Call {
            extensions,
            metadata,
            message,
        } = call;
        allowed(extensions, &message.table, Reader)?;
        let asked = message.freshness.clone();
        let options = self.read_options(&message.table, asked, metadata, extensions)?;
        let table = TableName::parse(&message.table)?;
        let ttl = self.ttl(message.ttl)?;
        let (owner, bounds) = (owner(extensions), self.live.load().sessions);
        let owner = owner.map(Into::into);
        let opened = self
            .router
            .open_session(&table, options, ttl, owner, bounds);
        let (session, served) = opened.await?;
        Ok((self.tell(&table, &session)?, served))
    }

    pub(super) async fn run_renew_session(
        &self,
        call: &Call<pb::RenewSessionRequest>,
    ) -> Result<(Told, Served)> {
        let message = &call.message;
        allowed(&call.extensions, &message.table, Reader)?;
        let table = TableName::parse(&message.table)?;
        let session = self.session(&table, &message.session)?;
        if session.has_expired(SystemTime::now()) {
            return Err(wire::freshness::expired());
        }
        let ttl = self.ttl(message.ttl)?;
        let owner = owner(&call.extensions).map(Into::into);
        let renewed = self.router.renew_session(&table, &session, ttl, owner);
        let (session, served) = renewed.await?;
        Ok((self.tell(&table, &session)?, served))
    }

    pub(super) async fn run_close_session(
        &self,
        call: &Call<pb::CloseSessionRequest>,
    ) -> Result<Served> {
        let message = &call.message;
        allowed(&call.extensions, &message.table, Reader)?;
        let table = TableName::parse(&message.table)?;
        let session = self.session(&table, &message.session)?;
        self.router.close_session(&table, &session).await
    }

    fn session(&self, table: &TableName, text: &str) -> Result<Session> {
        let key = self.router.token_key();
        wire::freshness::session(key.as_ref(), table, text, "session")
    }

    fn tell(&self, table: &TableName, session: &Session) -> Result<Told> {
        let key = self.router.token_key();
        let key = key.ok_or_else(|| Error::Internal("a session of no primary".into()))?;
        Ok(Told {
            text: key.seal_session(table, session),
            expires: session.expires,
        })
    }

    /// For how long a version is kept.
    fn ttl(&self, asked: Option<prost_types::Duration>) -> Result<Duration> {
        let Some(ttl) = wire::table::duration(asked, "ttl")? else {
            return Ok(self.live.load().sessions.default_ttl);
        };
        let most = self.live.load().sessions.max_ttl;
        match ttl {
            Duration::ZERO => Err(Error::invalid("ttl", "must be more than 0")),
            ttl if ttl > most => {
                let text = format!("must be at most {}", humantime::format_duration(most));
                Err(Error::invalid("ttl", text))
            }
            ttl => Ok(ttl),
        }
    }
}
