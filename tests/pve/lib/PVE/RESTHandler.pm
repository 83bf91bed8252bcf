package PVE::RESTHandler;

# Stands in for PVE's: keeps what is registered, refuses what PVE would not know what to do with.

use strict;
use warnings;

our $VERSION = '1';

my %known = map { $_ => 1 } qw(
    name path method description proxyto protected permissions parameters returns code subclass allowtoken
);
my %words = map { $_ => 1 } qw(
    type description optional default minimum maximum minLength maxLength pattern format enum properties
    items links additionalProperties typetext requires format_description title verbose_description
    default_key alias keyAlias renderer instance-types oneOf type-property
);
my %types = map { $_ => 1 } qw(string integer number boolean array object null any);

our %methods;

sub check_schema {
    my ($schema, $where) = @_;

    die "$where: no schema\n" if ref($schema) ne 'HASH';
    for my $word (keys(%{$schema})) {
        die "$where: unknown word '$word'\n" if !$words{$word};
    }
    die "$where: type '$schema->{type}'\n" if defined($schema->{type}) && !$types{ $schema->{type} };
    die "$where: optional is no number\n" if ($schema->{optional} // 1) !~ m/\A[01]\z/;
    die "$where: enum is no list\n" if exists($schema->{enum}) && ref($schema->{enum}) ne 'ARRAY';
    check_schema($schema->{items}, "$where: items") if exists($schema->{items});
    my $properties = $schema->{properties} // {};
    check_schema($properties->{$_}, "$where: $_") for sort(keys(%{$properties}));
    return;
}

sub register_method {
    my ($class, $info) = @_;

    for my $key (keys(%{$info})) {
        die "unknown key '$key'\n" if !$known{$key};
    }
    if (!$info->{subclass}) {
        my $where = "$info->{method} $info->{path}";
        die "$where: no name\n" if ($info->{name} // q{}) !~ m/\A[a-zA-Z0-9_-]+\z/;
        die "$where: no code\n" if ref($info->{code}) ne 'CODE';
        check_schema($info->{parameters}, "$where: parameters");
        check_schema($info->{returns}, "$where: returns");
        my $of = $methods{$class} // [];
        die "$where: its name is taken\n" if grep { ($_->{name} // q{}) eq $info->{name} } @{$of};
        while ($info->{path} =~ m/\{([^}]+)\}/g) {
            die "$where: $1 is no parameter\n" if !$info->{parameters}->{properties}->{$1};
        }
    }
    push(@{ $methods{$class} }, $info);
    return;
}

sub map_method_by_name {
    my ($class, $name) = @_;

    my ($found) = grep { ($_->{name} // q{}) eq $name } @{ $methods{$class} // [] };
    die "no such method '${class}::$name'\n" if !$found;
    return $found;
}

1;
