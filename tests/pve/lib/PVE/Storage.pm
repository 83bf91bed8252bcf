package PVE::Storage;

# Stands in for PVE's: loads what lies in Custom/ as it does, once the rest is there.

use strict;
use warnings;

our $VERSION = '1';

sub APIVER { return 15; }

1;
