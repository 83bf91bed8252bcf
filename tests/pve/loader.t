#!/usr/bin/perl
# How the plug-in joins PVE: what it adds, what it leaves alone, and that what it does not find costs PVE
# nothing. Each case is a process of its own, as PVE's daemons are.

use strict;
use warnings;

use File::Temp qw(tempdir);
use Test::More;

my $dir = tempdir(CLEANUP => 1);
my $load = 'require PVE::Storage::Custom::LxcriPlugin;';

# A program that has loaded PVE, and then prints.
sub perl {
    my ($before, $after) = @_;

    my $script = "$dir/program";
    open(my $file, '>', $script) or die "$!\n";
    print {$file} "use strict; use warnings;\n$before\n$after\n";
    close($file) or die "$!\n";
    my $output = qx{$^X @{[map { "-I$_" } grep { !ref } @INC]} $script 2>&1};
    return ($? == 0 ? q{} : "exit $?: ") . $output;
}

my $nodes = 'use PVE::API2::Nodes; ';
my $plugin = "BEGIN { $load } ";
my $list = 'print join(",", map { $_->{name} } '
    . '@{ PVE::API2::Nodes::Nodeinfo->map_method_by_name("index")->{code}->({}) });';
my $served = 'print scalar(grep { ($_->{path} // "") eq "oci" && $_->{subclass} eq "PVE::API2::OCI" } '
    . '@{ $PVE::RESTHandler::methods{"PVE::API2::Nodes::Nodeinfo"} });';

is(perl($nodes . $plugin, $list), 'lxc,oci', 'the list of a node has oci');
is(perl($plugin . $nodes, $list), 'lxc,oci', 'whichever was loaded first');
is(perl($nodes . $plugin, $served), '1', 'and it is served');
is(perl('use PVE::RESTHandler; ' . $plugin, 'print "fine"'), 'fine', 'a program without the API goes on');
is(perl($nodes, "$load print 'fine'"), 'fine', 'and so does one that loads it late');

is(perl($plugin, 'print PVE::Storage::Custom::LxcriPlugin->api()'), '15', 'it is of the version that runs');
is(perl($plugin, 'print PVE::Storage::Custom::LxcriPlugin->isa("PVE::Storage::Plugin")'), '1', 'derived as it must be');
is(
    perl($plugin, 'PVE::Storage::Custom::LxcriPlugin->register(); print scalar(@PVE::Storage::Plugin::registered)'),
    '0', 'and no type of storage',
);

my $without_register = 'BEGIN { require PVE::RESTHandler; undef(&PVE::RESTHandler::register_method); '
    . 'delete($PVE::RESTHandler::{register_method}); } ';
is(perl($without_register . $plugin, 'print "fine"'), 'fine', 'a PVE without the registry goes on');
my $without_index = 'INIT { } BEGIN { @{ $PVE::RESTHandler::methods{"PVE::API2::Nodes::Nodeinfo"} } = (); } ';
is(perl($nodes . $without_index . $plugin, $served), '1', 'one without the list is served all the same');

my $switch = "$dir/off";
open(my $touched, '>', $switch) or die "$!\n";
close($touched) or die "$!\n";
my $switched = "BEGIN { \$PVE::Storage::Custom::LxcriPlugin::OFF = '$switch'; } ";
is(perl($nodes . $switched . $plugin, $list), 'lxc', 'the switch leaves PVE as it was');

done_testing();
