package PVE::Exception;

# Stands in for PVE's: an object with a message, a status and errors by parameter.

use strict;
use warnings;

use parent 'Exporter';

our $VERSION = '1';
our @EXPORT_OK = qw(raise);

use overload '""' => sub { return $_[0]->{msg} }, fallback => 1;

sub raise {
    my ($message, %more) = @_;

    die bless({ msg => $message, %more }, __PACKAGE__);
}

1;
