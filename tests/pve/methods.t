#!/usr/bin/perl
# What the plug-in declares to PVE is what the OpenAPI document says: every method below
# /nodes/{node}/oci, its parameters, where they stand, whether they must be there, and their types.

use strict;
use warnings;

use JSON::PP;
use Test::More;

use PVE::API2::OCI;

my $program = $ENV{LXCRI_PROGRAM} // die "LXCRI_PROGRAM is not set\n";
my $text = do {
    open(my $pipe, '-|', $program, 'generate', 'openapi') or die "$program: $!\n";
    local $/ = undef;
    my $all = <$pipe>;
    close($pipe) or die "$program generate openapi failed\n";
    $all;
};
my $document = decode_json($text);

sub dereferenced {
    my ($schema) = @_;

    while (my $reference = $schema->{'$ref'}) {
        my ($name) = $reference =~ m/\A#\/components\/schemas\/(.+)\z/ or die "$reference\n";
        $schema = $document->{components}->{schemas}->{$name};
    }
    return $schema;
}

# PVE writes 0 and 1, and so does a client of it; OpenAPI may list more than one type.
sub type_of {
    my ($schema) = @_;

    my $type = dereferenced($schema)->{type};
    my @types = grep { $_ ne 'null' } ref($type) eq 'ARRAY' ? @{$type} : ($type // 'string');
    return join(q{|}, sort(@types));
}

# By method, what the names of numbered parameters look like.
my %numbered;

sub documented {
    my %found;
    for my $path (grep { m/\A(?:\/api2\/json)?\/nodes\/\{node\}\/oci(?:\/|\z)/ } keys(%{ $document->{paths} })) {
        my ($below) = $path =~ m/\/oci\/?(.*)\z/;
        my $item = $document->{paths}->{$path};
        for my $verb (grep { exists($item->{$_}) } qw(get put post delete)) {
            my $operation = $item->{$verb};
            my %parameters;
            for my $parameter (map { dereferenced($_) } @{ $operation->{parameters} // [] }, @{ $item->{parameters} // [] }) {
                next if $parameter->{in} ne 'path' && $parameter->{in} ne 'query';
                $parameters{ $parameter->{name} } =
                    { required => $parameter->{required} ? 1 : 0, type => type_of($parameter->{schema}) };
            }
            my ($content) = values(%{ $operation->{requestBody}->{content} // {} });
            my $body = $content ? dereferenced($content->{schema}) : {};
            my %required = map { $_ => 1 } @{ $body->{required} // [] };
            for my $name (keys(%{ $body->{properties} // {} })) {
                $parameters{$name} =
                    { required => $required{$name} ? 1 : 0, type => type_of($body->{properties}->{$name}) };
            }
            $found{ uc($verb) . " $below" } = \%parameters;
            $numbered{ uc($verb) . " $below" } = [keys(%{ $body->{patternProperties} // {} })];
        }
    }
    return \%found;
}

sub declared {
    my %found;
    for my $method (@{ $PVE::RESTHandler::methods{'PVE::API2::OCI'} }) {
        my $properties = $method->{parameters}->{properties};
        my %parameters = map {
            my $schema = $properties->{$_};
            # On the wire PVE's are 0 and 1, which is what the document says of them.
            my $type = $schema->{type} eq 'boolean' ? 'integer' : $schema->{type};
            $_ => { required => $schema->{optional} ? 0 : 1, type => $type };
        } keys(%{$properties});
        $found{"$method->{method} $method->{path}"} = \%parameters;
    }
    return \%found;
}

my ($document_says, $plugin_says) = (documented(), declared());
cmp_ok(scalar(keys(%{$document_says})), '>=', 5, 'the document has our methods');
is_deeply([sort(keys(%{$plugin_says}))], [sort(keys(%{$document_says}))], 'the same methods');
for my $method (sort(keys(%{$document_says}))) {
    for my $pattern (@{ $numbered{$method} }) {
        my @names = grep { m/$pattern/ } keys(%{ $plugin_says->{$method} });
        cmp_ok(scalar(@names), '>', 1, "$method: $pattern is declared");
        delete($plugin_says->{$method}->@{@names});
    }
    is_deeply($plugin_says->{$method}, $document_says->{$method}, "$method: the same parameters");
}

for my $method (@{ $PVE::RESTHandler::methods{'PVE::API2::OCI'} }) {
    my $name = "$method->{method} $method->{path}";
    is($method->{proxyto}, 'node', "$name is for the node that is named");
    is($method->{protected}, 1, "$name is for pvedaemon, which is root");
    ok($method->{permissions}, "$name says who may");
}

done_testing();
