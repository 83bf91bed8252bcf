package PVE::Storage::Custom::LxcriPlugin;

# Loaded by PVE with its storage plug-ins, in every process that may need it, and no storage: it adds
# /nodes/{node}/oci to PVE's API, and a line to the list below /nodes/{node}. Nothing of PVE's is changed on
# disk. Each place that is held on to is looked for first; one that is gone costs a line in the journal and
# nothing else.

use strict;
use warnings;

use Sys::Syslog ();

use PVE::Storage;

use parent qw(PVE::Storage::Plugin);

our $VERSION = '1';

# Present: PVE is left as it is.
our $OFF;
$OFF = '/etc/proxmox-lxcri/no-pve-plugin' if !defined($OFF);

# Whatever version of the interface runs here: nothing of it is used.
sub api {
    my $version = PVE::Storage->can('APIVER');
    return defined($version) ? $version->() : 0;
}

# No type of storage.
sub register { return; }

sub type { return 'lxcri'; }

# One line for whoever looks, from the daemons only: pct and its like load this too.
sub note {
    my ($text) = @_;

    return if $0 !~ m/\b(?:pveproxy|pvedaemon)\b/;
    eval {
        Sys::Syslog::openlog('proxmox-lxcri', 'pid', 'daemon');
        Sys::Syslog::syslog('warning', '%s', "plug-in: $text");
        Sys::Syslog::closelog();
        1;
    } or return 0;
    return 1;
}

# The API below /nodes/{node}.
sub join_api {
    eval { require PVE::RESTHandler; 1 } or return note("no /nodes/{node}/oci: $@");
    PVE::RESTHandler->can('register_method')
        or return note('PVE::RESTHandler has no register_method: /nodes/{node}/oci is not served');
    eval { require PVE::API2::OCI; 1 } or return note("no /nodes/{node}/oci: $@");
    eval {
        # Classes are known by their names: this one may be in the middle of being compiled.
        PVE::RESTHandler::register_method('PVE::API2::Nodes::Nodeinfo',
            { subclass => 'PVE::API2::OCI', path => 'oci' });
        1;
    } or return note("no /nodes/{node}/oci: $@");
    return 1;
}

# The list at /nodes/{node} is written by hand.
sub join_index {
    my $class = 'PVE::API2::Nodes::Nodeinfo';
    # A process without the API, say pct.
    return 0 if !$class->can('map_method_by_name');
    my $index = eval { $class->map_method_by_name('index') };
    if (ref($index) ne 'HASH' || ref($index->{code}) ne 'CODE') {
        return note("$class has no index: oci is not in the list of /nodes/{node}");
    }
    my $code = $index->{code};
    $index->{code} = sub {
        my $list = $code->(@_);
        push(@{$list}, { name => 'oci' }) if ref($list) eq 'ARRAY';
        return $list;
    };
    return 1;
}

my $joined = 0;
if (-e $OFF) {
    note("switched off by $OFF");
} else {
    $joined = join_api();
}

# When the program is compiled, and so are the modules that it consists of. One that is running already,
# and loads this only now, has no list to show.
{
    no warnings 'void';    ## no critic (ProhibitNoWarnings)
    INIT { join_index() if $joined; }
}

1;
