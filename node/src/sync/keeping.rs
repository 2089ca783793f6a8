//! The part of a session that is about packs which this node keeps for the coordinator.

use std::sync::Arc;

use difusor_proto::{
    store::PackName,
    wire::{CloseCode, FromNode, PackHead},
};
use quinn::{Connection, RecvStream};

use super::Session;
use crate::keep::{Keep, KeepError};

impl Session {
    /// Says which packs are here, if this node keeps any.
    pub(super) async fn say_keeps(&self) {
        let Some(keep) = self.sync.keep.clone() else { return };
        match tokio::task::spawn_blocking(move || keep.held()).await {
            Ok(Ok(packs)) => self.say(FromNode::Keeps { packs }),
            Ok(Err(error)) => tracing::error!(%error, "the folder of kept packs cannot be read"),
            Err(error) => tracing::error!(%error, "the folder of kept packs cannot be read"),
        }
    }

    fn keeper(&self) -> Result<&Arc<Keep>, CloseCode> {
        self.sync.keep.as_ref().ok_or(CloseCode::Garbage)
    }

    /// Takes in a pack that this node has to keep.
    pub(super) async fn keep(&self, mut stream: RecvStream, head: PackHead) -> Result<(), CloseCode> {
        let name = head.name.clone();
        match self.keeper()?.take(&mut stream, &head).await {
            Ok(()) => {
                tracing::info!(%name, bytes = head.len, "kept");
                self.say(FromNode::Kept { name });
                Ok(())
            }
            Err(KeepError::Broken(error)) => {
                tracing::info!(%name, %error, "a pack broke off");
                Ok(())
            }
            Err(KeepError::Cannot(reason)) => {
                tracing::error!(%name, %reason, "a pack cannot be kept");
                self.sync.refused.count("pack");
                // Whoever sends stops at once, and is told why.
                let _ = stream.stop(0_u32.into());
                self.say(FromNode::NotKept { name, reason });
                Ok(())
            }
            Err(KeepError::Rules { code, detail }) => {
                tracing::error!(%name, detail, "a pack was refused");
                Err(code)
            }
        }
    }

    /// Sends a pack back that the coordinator asks for.
    pub(super) async fn give(&self, connection: &Connection, name: PackName) -> Result<(), CloseCode> {
        if let Err(error) = self.keeper()?.give(connection, &name).await {
            tracing::warn!(%name, error = format!("{error:#}"), "a pack was asked for and cannot be sent");
            self.say(FromNode::NotKept { name, reason: error.to_string() });
        }
        Ok(())
    }

    /// Gives up a cut that is kept in its smaller form.
    pub(super) async fn discard(&self, name: PackName) -> Result<(), CloseCode> {
        let keep = Arc::clone(self.keeper()?);
        let which = name.clone();
        match tokio::task::spawn_blocking(move || keep.discard(&which)).await {
            Ok(Ok(true)) => tracing::info!(%name, "given up: its smaller form is kept"),
            Ok(Ok(false)) => {
                tracing::error!(%name, "not given up: its smaller form is not here");
                self.sync.refused.count("discard");
            }
            Ok(Err(error)) => tracing::error!(%name, %error, "it cannot be given up"),
            Err(error) => tracing::error!(%name, %error, "it cannot be given up"),
        }
        Ok(())
    }
}
