//! Faults put into the engine on purpose, one at a time, to prove that the crash exploration
//! notices each of them. Outside tests every question answers "no" at compile time.

/// What goes wrong while a mutant is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// A sync returns without having synced the segments.
    SegmentSyncSkipped,
    /// A sync returns without having synced the directory.
    DirectorySyncSkipped,
    /// Only the active segment is synced, not the older ones before it.
    OlderSegmentsNotSynced,
    /// A failed sync is taken for a good one.
    SyncErrorSwallowed,
    /// `Device` is acknowledged without a sync.
    AcknowledgedBeforeSync,
    /// A file that replaces another is renamed before it is synced.
    ReplacementNotSynced,
    /// The directory is not synced after a manifest got its name.
    ManifestNameNotSynced,
    /// A merge output is renamed before it is synced.
    OutputNotSynced,
    /// The directory is not synced before a manifest lists new names.
    NamesNotSynced,
    /// What made records dead is not synced before a merge drops them.
    DeathsNotSynced,
    /// Inputs are unlinked before the manifest declares them dead.
    UnlinkedBeforeDeclared,
    /// The manifest does not say which inputs are dead.
    InputsNotDeclared,
    /// Tombstones retire although an older version lies elsewhere.
    TombstonesRetireEarly,
    /// A merged record gets another seq.
    SeqNotKept,
    /// A write does not say what outlives it.
    CoversForgotten,
    /// Expired puts leave no tombstone although they hide something.
    ExpiredLeavesNothing,
    /// Recovery keeps half a batch.
    BatchCountIgnored,
    /// Recovery goes on behind a gap above the synced mark.
    GapIgnored,
    /// Recovery takes a value without looking at its checksum.
    ValueNotChecked,
    /// A failed append is not cut back.
    FailedAppendLeft,
    /// A put is published although its write failed.
    PublishedBeforeWritten,
    /// The lower seq wins when the store opens.
    LowestSeqWins,
    /// A version that a snapshot sees is not kept when it is replaced.
    SupersededNotKept,
    /// Merge removes what has expired although it has not in a snapshot.
    ExpiredNotKept,
    /// Recovery removes files on the word of a manifest whose name may not be durable.
    RemovedOnUnsyncedWord,
    /// A torn header of a segment just begun is taken for damage.
    TornHeaderTakenForDamage,
    /// What the keydir image does not cover is not looked at.
    ImageTailForgotten,
    /// A keydir image gets its name before it is synced.
    ImageNotSynced,
    /// A page of the hash keydir that is made anew after an open by image does not know how far the
    /// places in it lie, and cuts them off.
    ImagePlacesCutOff,
    /// A hint file is believed whatever segment, and whatever state of it, it was made from.
    HintTrusted,
    /// The checksums of a hint file are not looked at.
    HintNotChecked,
    /// The checksum of a record's header and key is not looked at.
    RecordHeaderNotChecked,
    /// The checksum of a manifest is not looked at.
    ManifestNotChecked,
    /// The checksums of a keydir image are not looked at.
    ImageNotChecked,
    /// A torn segment is sealed with what is torn in it.
    TornTailAccepted,
    /// A manifest stays under its temporary name.
    ManifestRenameSkipped,
    /// A file that replaces another stays under its temporary name.
    ReplacementRenameSkipped,
    /// A keydir image stays under its temporary name.
    ImageRenameSkipped,
    /// A merge output stays under its temporary name.
    OutputRenameSkipped,
    /// The checksum of what all files but hints begin with is not looked at.
    PreambleNotChecked,
    /// The checksums of a segment's header are not looked at.
    SegmentHeaderNotChecked,
    /// The checksum of a segment's footer is not looked at.
    FooterNotChecked,
    /// A checkpoint is begun without its label.
    LabelLeftOut,
    /// Records say that everything before them was on the device.
    MarkAhead,
    /// A read takes the record that it is led to for the key's without comparing the key.
    KeyNotCompared,
    /// The copy that is made in place of a torn segment with a second name stays under its temporary one.
    TornCopyRenameSkipped,
}

#[cfg(test)]
pub(crate) const ALL: [Mutant; 46] = [
    Mutant::SegmentSyncSkipped,
    Mutant::DirectorySyncSkipped,
    Mutant::OlderSegmentsNotSynced,
    Mutant::SyncErrorSwallowed,
    Mutant::AcknowledgedBeforeSync,
    Mutant::ReplacementNotSynced,
    Mutant::ManifestNameNotSynced,
    Mutant::OutputNotSynced,
    Mutant::NamesNotSynced,
    Mutant::DeathsNotSynced,
    Mutant::UnlinkedBeforeDeclared,
    Mutant::InputsNotDeclared,
    Mutant::TombstonesRetireEarly,
    Mutant::SeqNotKept,
    Mutant::CoversForgotten,
    Mutant::ExpiredLeavesNothing,
    Mutant::BatchCountIgnored,
    Mutant::GapIgnored,
    Mutant::ValueNotChecked,
    Mutant::FailedAppendLeft,
    Mutant::PublishedBeforeWritten,
    Mutant::LowestSeqWins,
    Mutant::RemovedOnUnsyncedWord,
    Mutant::TornHeaderTakenForDamage,
    Mutant::SupersededNotKept,
    Mutant::ExpiredNotKept,
    Mutant::ImageTailForgotten,
    Mutant::ImageNotSynced,
    Mutant::ImagePlacesCutOff,
    Mutant::HintTrusted,
    Mutant::HintNotChecked,
    Mutant::RecordHeaderNotChecked,
    Mutant::ManifestNotChecked,
    Mutant::ImageNotChecked,
    Mutant::TornTailAccepted,
    Mutant::ManifestRenameSkipped,
    Mutant::ReplacementRenameSkipped,
    Mutant::ImageRenameSkipped,
    Mutant::OutputRenameSkipped,
    Mutant::PreambleNotChecked,
    Mutant::SegmentHeaderNotChecked,
    Mutant::FooterNotChecked,
    Mutant::LabelLeftOut,
    Mutant::MarkAhead,
    Mutant::KeyNotCompared,
    Mutant::TornCopyRenameSkipped,
];

/// Whether `mutant` is on in this thread.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn is_on(_mutant: Mutant) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static CURRENT: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether `mutant` is on in this thread.
#[cfg(test)]
pub(crate) fn is_on(mutant: Mutant) -> bool {
    CURRENT.get() == Some(mutant)
}

/// Switches a mutant on, or all of them off.
#[cfg(test)]
pub(crate) fn switch(mutant: Option<Mutant>) {
    CURRENT.set(mutant);
}
