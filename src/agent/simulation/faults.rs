//! Every fault there is: its words, how long it lasts, and what it excuses.
//!
//! Never acts: `driver.rs` begins and ends them. What stays true: a fault that Vault or the disk has
//! excuses an expired certificate only while it lasts and for the stated time after it.

/// What is to be known about one kind of fault.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) fault: Fault,
    /// As it stands in a schedule; `{}` is its number.
    pub(super) text: &'static str,
    /// The smallest and the largest number.
    pub(super) number: (u32, u32),
    /// How long it lasts, in hundredths of the certificate's life; zero for a moment.
    pub(super) lasts: (u32, u32),
    /// While it lasts nothing can be had, and for so many seconds after it: the longest way back
    /// that the plan of its failure class has (`model/retry.rs`). Zero: it excuses nothing.
    pub(super) excuses: u32,
}

macro_rules! faults {
    ($($fault:ident, $text:literal, $number:expr, $lasts:expr, $excuses:literal;)*) => {
        /// One kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Fault {
            $($fault,)*
        }

        /// All of them.
        pub(super) const KINDS: &[Kind] = &[$(Kind {
            fault: Fault::$fault,
            text: $text,
            number: $number,
            lasts: $lasts,
            excuses: $excuses,
        },)*];
    };
}

const ONE: (u32, u32) = (0, 0);
const MOMENT: (u32, u32) = (0, 0);

faults! {
    // of Vault
    Unavailable, "Vault answers 503", ONE, (1, 120), 75;
    Unreachable, "Vault cannot be reached", ONE, (1, 120), 75;
    Hangs, "Vault does not answer", ONE, (1, 120), 110;
    Throttles, "Vault answers 429 with Retry-After {} s", (1, 900), (1, 60), 1150;
    Denies, "Vault answers 403", ONE, (1, 120), 140;
    RoleGone, "the role is gone", ONE, (1, 120), 260;
    Refusable, "Vault's answers are refused, form {}", (0, 3), (1, 120), 1300;
    ShortLife, "the role gives a {}th of the life", (4, 20), (20, 120), 0;
    CaEnds, "the CA ends within {} min, and is repaired then", (1, 30), (60, 150), 1300;
    OneNodeDown, "one of two nodes of Vault answers 503", ONE, (1, 120), 0;
    RateLimit, "Vault takes {} requests a minute", (1, 4), (10, 120), 0;
    Slow, "Vault takes {} s to answer", (1, 8), (10, 100), 0;
    NewIssuer, "the mount gets another CA", ONE, MOMENT, 0;
    // of the disk, the process and the machine
    DiskFull, "the disk is full", ONE, (1, 100), 75;
    ReadOnly, "the disk is read-only", ONE, (1, 100), 75;
    StepFails, "step {} on the disk fails, counted from now on", (1, 60), MOMENT, 0;
    Crash, "the agent crashes at step {} on the disk", (1, 120), MOMENT, 0;
    PowerLoss, "the power is lost at step {} on the disk", (1, 120), MOMENT, 0;
    Killed, "the agent is killed, and started {} s later", (0, 600), MOMENT, 0;
    Stopped, "the agent is stopped, and started {} s later", (0, 600), MOMENT, 0;
    SecondAgent, "a second agent runs on the same directory", ONE, (5, 120), 0;
    // of our own files
    FileRemoved, "published file {} is removed", (0, 2), MOMENT, 0;
    KeyReplaced, "the published key is replaced", ONE, MOMENT, 0;
    GenerationRemoved, "the published generation is removed", ONE, MOMENT, 0;
    DirectoryRemoved, "the certificate directory is removed", ONE, MOMENT, 0;
    LinkRemoved, "link {} is removed", (0, 3), MOMENT, 0;
    RecordDamaged, "the record is cut at byte {}", (0, 800), MOMENT, 0;
    RecordRemoved, "the record is removed", ONE, MOMENT, 0;
    ReadyRemoved, "the ready file is removed", ONE, MOMENT, 0;
    ExtraDamaged, "the file of extra anchors is damaged", ONE, (20, 200), 0;
    // of the application, and of Nomad
    AppDown, "the application is down", ONE, (1, 100), 0;
    AppIgnores, "the application ignores reloads", ONE, (1, 100), 0;
    AppFails, "Nomad does not answer", ONE, (1, 100), 0;
    AppSlow, "a reload takes {} s", (1, 40), (10, 100), 0;
    AppLoses, "the application serves its first certificate again", ONE, MOMENT, 0;
    LockTaken, "another allocation holds the lock", ONE, (1, 60), 0;
    // of people
    Renews, "a person asks for a renewal", ONE, MOMENT, 0;
    Cron, "a script asks for a renewal each {} s", (20, 120), (20, 100), 0;
}

impl Fault {
    pub(super) fn kind(self) -> &'static Kind {
        let found = KINDS.iter().find(|kind| kind.fault == self);
        found.expect("every fault is in the table")
    }
}
