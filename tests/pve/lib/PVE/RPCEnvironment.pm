package PVE::RPCEnvironment;

# Stands in for PVE's: who calls.

use strict;
use warnings;

our $VERSION = '1';
our $user = 'root@pam';

sub get { return bless({}, __PACKAGE__); }

sub get_user { return $user; }

1;
