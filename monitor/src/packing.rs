//! What an archive goes through on its way into its file: a compressor of ours, which has one thread,
//! or a program that has more, or a format that we only read.

use std::fs::File;
use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use clap::ValueEnum;
use images::{Compression, Compressor};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
    Lzo,
}

pub(crate) enum Sink {
    Own(Compressor),
    Program(Program),
}

pub(crate) struct Program {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    file: File,
}

impl Sink {
    /// With `threads` a program packs, as vzdump has it.
    pub(crate) fn new(file: File, packing: Packing, threads: Option<u64>) -> io::Result<Self> {
        let own = |compression| Compressor::new(file.try_clone()?, compression).map(Self::Own);
        match (packing, threads) {
            (Packing::None, _) => own(Compression::None),
            (Packing::Gzip, None) => own(Compression::Gzip),
            (Packing::Zstd, None) => own(Compression::Zstd),
            (Packing::Gzip, Some(threads)) => {
                let arguments = [format!("--processes={threads}"), "--rsyncable".to_owned()];
                Program::start("pigz", &arguments, file).map(Self::Program)
            }
            (Packing::Zstd, Some(threads)) => {
                let arguments = [format!("--threads={threads}"), "--quiet".to_owned()];
                Program::start("zstd", &arguments, file).map(Self::Program)
            }
            (Packing::Lzo, _) => Program::start("lzop", &[], file).map(Self::Program),
        }
    }

    /// The stream's end, and the file.
    pub(crate) fn finish(self) -> io::Result<File> {
        match self {
            Self::Own(compressor) => compressor.finish(),
            Self::Program(program) => program.finish(),
        }
    }
}

impl Program {
    fn start(name: &'static str, arguments: &[String], file: File) -> io::Result<Self> {
        let mut command = Command::new(name);
        command.args(arguments).stdin(Stdio::piped()).stdout(file.try_clone()?);
        let mut child = command.spawn().map_err(|err| {
            if err.kind() != io::ErrorKind::NotFound {
                return err;
            }
            let text = format!("'{name}' does not exist; install the package {name}");
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        let input = child.stdin.take().expect("it was asked for as a pipe");
        Ok(Self { name, child, input, file })
    }

    fn finish(self) -> io::Result<File> {
        let Self { name, mut child, input, file } = self;
        drop(input);
        let status = child.wait()?;
        if status.success() { Ok(file) } else { Err(io::Error::other(format!("{name}: {status}"))) }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Own(compressor) => compressor.write(bytes),
            Self::Program(program) => program.input.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Own(compressor) => compressor.flush(),
            Self::Program(program) => program.input.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What `packing` made of some text, as its own program unpacks it.
    fn there_and_back(packing: Packing, threads: Option<u64>, unpacker: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive");
        let mut sink =
            Sink::new(fs_err::File::create(&path).unwrap().into_file(), packing, threads).unwrap();
        sink.write_all(&[7; 300_000]).unwrap();
        sink.finish().unwrap();
        let packed = fs_err::File::open(&path).unwrap().into_file();
        assert!(packed.metadata().unwrap().len() < 100_000);
        let mut child = Command::new(unpacker)
            .args(["-d", "-c"])
            .stdin(packed)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut plain = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut plain).unwrap();
        assert!(child.wait().unwrap().success());
        plain
    }

    #[test]
    fn programs_pack_what_is_written() {
        assert!(there_and_back(Packing::Lzo, None, "lzop") == vec![7; 300_000]);
        assert!(there_and_back(Packing::Zstd, Some(2), "zstd") == vec![7; 300_000]);
    }

    #[test]
    fn a_program_that_fails_is_named() {
        let file = tempfile::tempfile().unwrap();
        let arguments = ["--no-such-option".to_owned()];
        let program = Program::start("lzop", &arguments, file).unwrap();
        let err = Sink::Program(program).finish().unwrap_err().to_string();
        assert!(err.starts_with("lzop: exit status: "), "{err}");
    }

    #[test]
    fn one_that_is_missing_is_a_package() {
        let file = tempfile::tempfile().unwrap();
        let err = Program::start("lxcri-none", &[], file).map(drop).unwrap_err().to_string();
        assert_eq!(err, "'lxcri-none' does not exist; install the package lxcri-none");
    }
}
