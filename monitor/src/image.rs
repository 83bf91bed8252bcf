//! The child that unpacks an image in layers, confined as the one for other archives. It also makes
//! the folders that the image wants to be volumes, and looks its user up: both are in the container's
//! root filesystem, which nobody outside should touch.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use images::oci::{self, Layout};
use pve_integration::accounts::Accounts;
use pve_integration::oci_image::{ImageConfig, Unpacked};

use crate::confined::enter;
use crate::error::{During, Result};
use crate::pace::Paced;
use crate::unpack::say_left_out;

/// The hidden verb of the child.
pub(crate) const CHILD: &str = "image-child";

/// What its parent tells the child.
#[derive(Args)]
pub(crate) struct Orders {
    #[arg(long)]
    rootfs: PathBuf,
    #[arg(long)]
    shifted: bool,
    #[arg(long)]
    bwlimit: Option<u64>,
    /// PVE's name of the machine it is for, if that was asked for
    #[arg(long)]
    arch: Option<String>,
}

/// The child: the archive is its standard input.
pub(crate) fn unpack_here(orders: &Orders) -> Result<()> {
    let archive = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let archive = Paced::new(archive, orders.bwlimit);
    let root = enter(&orders.rootfs, orders.shifted)?;

    let mut layout = Layout::open(archive)?.ok_or(oci::ImageError::NoImage)?;
    let image = layout.image(orders.arch.as_deref())?;
    // Before the work, not after it.
    let config = ImageConfig::parse(image.config())?;
    let mut out = io::stdout();
    let mut progress = |progress: &images::Progress| {
        // Who does not listen misses nothing but this line.
        let (entries, mib) = (progress.entries, progress.bytes >> 20);
        writeln!(out, "unpacked {entries} entries, {mib} MiB").ok();
    };
    let limits = images::Limits::default();
    let summary = oci::unpack(root.as_fd(), &mut layout, &image, &limits, &mut progress)?;
    say_left_out(&summary);
    for path in config.volumes() {
        say(&format!("creating base directory for volume at {path}"));
        images::make_folder(root.as_fd(), path.as_bytes(), &limits)?;
    }
    let ids = config.ids(&Accounts::read(&root))?;
    let digest = image.digest().to_owned();
    let found = serde_json::to_string(&Unpacked { config, ids, digest });
    let found = found.map_err(io::Error::from).during("cannot report what was unpacked")?;
    writeln!(io::stdout(), "IMAGE {found}").during("cannot report what was unpacked")
}

fn say(line: &str) {
    let line: String = line.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    // Who does not listen misses nothing but this line.
    writeln!(io::stdout(), "{line}").ok();
}
