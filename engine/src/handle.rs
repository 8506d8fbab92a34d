//! What store, keyspaces and batches hold in common: a counted reference whose last drop closes
//! the store.

use std::ops::Deref;
use std::sync::Arc;

use crate::core::Core;

/// Closes its store when dropped.
pub(crate) struct Handle {
    core: Arc<Core>,
}

impl Handle {
    pub(crate) fn new(core: Arc<Core>) -> Arc<Handle> {
        Arc::new(Handle { core })
    }

    /// The state without the right to keep it open.
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Deref for Handle {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.core.close() {
            // Nobody is left to tell; who wants to know calls `Store::close`.
            tracing::error!(%error, "closing a dropped store failed");
        }
    }
}
