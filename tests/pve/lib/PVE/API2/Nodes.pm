package PVE::API2::Nodes::Nodeinfo;

# Stands in for PVE's: the list below /nodes/{node}, which is written by hand.

use strict;
use warnings;

use PVE::RESTHandler;

use parent -norequire, 'PVE::RESTHandler';

our $VERSION = '1';

__PACKAGE__->register_method({
    name => 'index',
    path => '',
    method => 'GET',
    description => 'The parts.',
    parameters => { additionalProperties => 0, properties => { node => { type => 'string' } } },
    returns => { type => 'array', items => { type => 'object' } },
    code => sub { return [{ name => 'lxc' }]; },
});

package PVE::API2::Nodes;

our $VERSION = '1';

1;
