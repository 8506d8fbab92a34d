//! The space cap of a store, put between the engine and its disk when the store is opened.

use std::sync::Arc;

use crate::disk::Disk;
use crate::disk::capped::{Capped, Names};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::segment::base::space_cap_min;
use crate::segment::names;

/// The same disk with the cap that was chosen, if one was.
pub(crate) fn capped(disk: &Arc<dyn Disk>, options: &Options) -> Result<Option<Arc<dyn Disk>>> {
    let Some(cap) = options.space_cap else {
        return Ok(None);
    };
    let least = space_cap_min(options.segment_bytes, options.reserve_bytes);
    if cap < least {
        return Err(Error::invalid(format!(
            "Options::space_cap of {cap} bytes is too small for segments of {} bytes: the least is \
             {least}, four segments and what is kept for deletes and merge; raise it, or choose \
             smaller segments",
            options.segment_bytes
        )));
    }
    let names = Names {
        counts: names::is_ours,
        in_the_making: names::is_temporary,
    };
    let capped = Capped::new(disk.clone(), cap, names)
        .map_err(|e| Error::io("add up the files of the store for", names::LOCK, e))?;
    let total = capped.ledger().total();
    if total > cap {
        return Err(Error::invalid(format!(
            "the store's files take {total} bytes, over Options::space_cap of {cap}: raise it, or \
             open without it and merge"
        )));
    }
    Ok(Some(Arc::new(capped)))
}
