#!/usr/bin/perl
# How a call of PVE's becomes a request on the daemon's socket, and an answer or an error again.

use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::UNIX;
use Test::More;
use Time::HiRes qw(sleep time);

use PVE::API2::OCI;
use PVE::RPCEnvironment;

my $dir = tempdir(CLEANUP => 1);
$PVE::API2::OCI::SOCKET = "$dir/api.sock";

sub method {
    my ($verb, $path) = @_;

    my ($found) = grep { $_->{method} eq $verb && $_->{path} eq $path }
        @{ $PVE::RESTHandler::methods{'PVE::API2::OCI'} };
    return $found // die "no $verb $path\n";
}

# Calls a method while somebody answers for the daemon: what was asked, what came of it, how long it took.
sub call {
    my ($method, $param, $answer, %how) = @_;

    unlink($PVE::API2::OCI::SOCKET);
    my $listener = IO::Socket::UNIX->new(Local => $PVE::API2::OCI::SOCKET, Listen => 1) or die "$!\n";
    pipe(my $from, my $to) or die "$!\n";
    my $pid = fork() // die "$!\n";
    if (!$pid) {
        my $socket = $listener->accept();
        my $asked = q{};
        while ($asked !~ m/\r\n\r\n/ || length($asked) < ($how{length} // 0)) {
            sysread($socket, $asked, 4096, length($asked)) or last;
        }
        syswrite($to, $asked);
        sleep($how{delay}) if $how{delay};
        syswrite($socket, $answer);
        close($socket);
        CORE::exit(0);
    }
    close($to);
    my $begun = time();
    my $got = eval { $method->{code}->($param) };
    my $error = $@;
    my $took = time() - $begun;
    my $asked = do { local $/ = undef; <$from> };
    kill('KILL', $pid);
    waitpid($pid, 0);
    return { asked => $asked, got => $got, error => $error, took => $took };
}

sub answer {
    my ($line, $body) = @_;

    return "HTTP/1.0 $line\r\nContent-Type: application/json\r\n\r\n$body";
}

subtest 'a question' => sub {
    local $PVE::RPCEnvironment::user = 'alice@pve!ci';
    my $lines = answer('200 OK', '{"data":[{"n":1,"t":"hello"}]}');
    my $call = call(method('GET', 'containers/{vmid}/logs'), { node => 'pve1', vmid => 101, limit => 5 }, $lines);

    like($call->{asked}, qr{\AGET /api2/json/nodes/pve1/oci/containers/101/logs\?limit=5 HTTP/1\.0\r\n}, 'where');
    like($call->{asked}, qr{^X-Lxcri-User: alice\@pve!ci\r$}m, 'for whom');
    like($call->{asked}, qr{^X-Lxcri-Request: $$-[0-9]+\r$}m, 'which request');
    is_deeply($call->{got}, [{ n => 1, t => 'hello' }], 'the answer is what PVE sends on');
};

subtest 'a change' => sub {
    my $put = method('PUT', 'containers/{vmid}');
    my $call = call($put, { node => 'pve1', vmid => 101, runtime => 'crun' }, answer('200 OK', '{"data":null}'), length => 1);

    like($call->{asked}, qr{\APUT /api2/json/nodes/pve1/oci/containers/101 HTTP/1\.0\r\n}, 'where');
    like($call->{asked}, qr{\r\nContent-Length: 12\r\n\r\nruntime=crun\z}, 'what');
    is($call->{got}, undef, 'nothing is answered');
    is($call->{error}, q{}, 'no error');
};

subtest 'values stay what they are' => sub {
    my $text = PVE::API2::OCI::request(method('PUT', 'containers/{vmid}'),
        { node => "a/b", vmid => 101, runtime => "x&y=\x{fc} \r\nX-Evil: 1" }, 'root@pam');

    like($text, qr{\APUT /api2/json/nodes/a%2Fb/oci/containers/101 HTTP}, 'in the path');
    like($text, qr{runtime=x%26y%3D(?:%C3%BC|%FC)%20%0D%0AX-Evil%3A%201\z}, 'in the body');
};

subtest 'a refusal' => sub {
    my $body = '{"data":null,"message":"Parameter verification failed.\n","errors":{"runtime":"no"}}';
    my $call = call(method('GET', 'runtimes'), { node => 'pve1' }, answer('400 Parameter verification failed.', $body));

    is($call->{error}->{code}, 400, 'its status');
    is("$call->{error}", "Parameter verification failed.\n", 'its words');
    is_deeply($call->{error}->{errors}, { runtime => 'no' }, 'by parameter');
};

subtest 'a daemon that is slow' => sub {
    my $call = call(method('GET', 'runtimes'), { node => 'pve1' }, answer('200 OK', '{"data":1}'), delay => 3);

    is($call->{error}->{code}, 503, 'is none');
    cmp_ok($call->{took}, '<', 1.5, 'and nobody waits for it');
};

subtest 'a daemon that talks nonsense' => sub {
    for my $nonsense (q{}, "hello\r\n\r\n", answer('200 OK', 'hello'), answer('200 OK', '[1]')) {
        my $call = call(method('GET', 'runtimes'), { node => 'pve1' }, $nonsense);
        is($call->{error}->{code}, 503, 'is none');
    }
};

subtest 'no daemon' => sub {
    unlink($PVE::API2::OCI::SOCKET);
    eval { method('GET', 'runtimes')->{code}->({ node => 'pve1' }) };

    is($@->{code}, 503, 'is an error with a status');
    like("$@", qr/\Aproxmox-lxcri does not answer: No such file or directory/, 'that says so');
};

done_testing();
