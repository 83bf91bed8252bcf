package PVE::API2::OCI;

# What PVE's API lacks for containers: each method is asked of proxmox-lxcri on this node, over its unix
# socket, which is root's, in the name of whoever was let in here. PVE checks parameters and rights by the
# schema that PVE::API2::OCI::Methods has of each, and so does the daemon again. What takes long answers
# with the UPID of a task of the daemon's, which is in PVE's own list of tasks.

use strict;
use warnings;

use IO::Socket::UNIX;
use JSON ();
use Time::HiRes ();

use PVE::API2::OCI::Methods;
use PVE::Exception qw(raise);
use PVE::RESTHandler;
use PVE::RPCEnvironment;

use parent qw(PVE::RESTHandler);

our $VERSION = '1';

our $SOCKET = '/run/proxmox-lxcri/api.sock';
# Three workers answer for all of PVE: none may wait longer.
our $DEADLINE = 1;
my $MAX_ANSWER = 16 * 1024 * 1024;

my $requests = 0;

sub encode {
    my ($text) = @_;

    utf8::encode($text) if utf8::is_utf8($text);
    $text =~ s/([^A-Za-z0-9_.~-])/sprintf('%%%02X', ord($1))/ge;
    return $text;
}

# Parameters that the path names go there, all others into the query or the body.
sub request {
    my ($method, $param, $user) = @_;

    my %rest = %{$param};
    my $node = delete($rest{node}) // 'localhost';
    my $path = $method->{path};
    $path =~ s/\{([^}]+)\}/encode(delete($rest{$1}) \/\/ q{})/ge;
    my $uri = '/api2/json/nodes/' . encode($node) . '/oci' . ($path eq q{} ? q{} : "/$path");
    my @pairs;
    for my $name (sort(keys(%rest))) {
        my $value = $rest{$name};
        for my $one (ref($value) eq 'ARRAY' ? @{$value} : $value) {
            push(@pairs, encode($name) . q{=} . encode($one // q{}));
        }
    }
    my $form = join(q{&}, @pairs);
    my $in_body = $method->{method} eq 'POST' || $method->{method} eq 'PUT';
    $uri .= "?$form" if !$in_body && $form ne q{};
    my @lines = (
        # One answer, which ends with the connection.
        "$method->{method} $uri HTTP/1.0",
        'Host: localhost',
        "X-Lxcri-User: $user",
        "X-Lxcri-Request: $$-" . ++$requests,
    );
    if ($in_body) {
        push(@lines, 'Content-Type: application/x-www-form-urlencoded', 'Content-Length: ' . length($form));
        return join("\r\n", @lines, q{}, $form);
    }
    return join("\r\n", @lines, q{}, q{});
}

sub unavailable {
    my ($why) = @_;

    return raise("proxmox-lxcri does not answer: $why\n", code => 503);
}

sub ready {
    my ($socket, $until, $to_write) = @_;

    my $left = $until - Time::HiRes::time();
    unavailable("more than $DEADLINE s passed") if $left <= 0;
    my $bits = q{};
    vec($bits, fileno($socket), 1) = 1;
    my $found = $to_write ? select(undef, $bits, undef, $left) : select($bits, undef, undef, $left);
    return $found > 0;
}

sub exchange {
    my ($text) = @_;

    my $until = Time::HiRes::time() + $DEADLINE;
    my $socket = IO::Socket::UNIX->new(Peer => $SOCKET) or unavailable($!);
    $socket->blocking(0);
    while ($text ne q{}) {
        next if !ready($socket, $until, 1);
        my $wrote = syswrite($socket, $text);
        if (defined($wrote)) {
            substr($text, 0, $wrote, q{});
        } elsif (!$!{EAGAIN} && !$!{EINTR}) {
            unavailable($!);
        }
    }
    my $answer = q{};
    while (1) {
        next if !ready($socket, $until, 0);
        my $read = sysread($socket, $answer, 65536, length($answer));
        if (!defined($read)) {
            next if $!{EAGAIN} || $!{EINTR};
            unavailable($!);
        }
        last if !$read;
        unavailable('the answer is too long') if length($answer) > $MAX_ANSWER;
    }
    return $answer;
}

sub parse {
    my ($answer) = @_;

    my ($head, $body) = split(m/\r?\n\r?\n/, $answer, 2);
    my ($status, $reason) = ($head // q{}) =~ m/\AHTTP\/1\.[01] ([0-9]{3}) ?([^\r\n]*)/
        or unavailable('the answer is no HTTP');
    my $decoded = eval { JSON->new->utf8->decode($body // q{}) };
    if ($status < 200 || $status > 299) {
        my $hash = ref($decoded) eq 'HASH' ? $decoded : {};
        my $message = $hash->{message} // $reason;
        $message .= "\n" if $message !~ m/\n\z/;
        my %more = ref($hash->{errors}) eq 'HASH' ? (errors => $hash->{errors}) : ();
        raise($message, code => $status, %more);
    }
    unavailable('the answer is no JSON') if ref($decoded) ne 'HASH';
    return $decoded->{data};
}

# The code of a method.
sub forward {
    my ($method) = @_;

    return sub {
        my ($param) = @_;

        my $user = PVE::RPCEnvironment::get()->get_user();
        return parse(exchange(request($method, $param, $user)));
    };
}

for my $method (@{ PVE::API2::OCI::Methods::all() }) {
    __PACKAGE__->register_method({ %{$method}, code => forward($method) });
}

1;
