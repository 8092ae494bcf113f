# A program whose signals, groups and children are in every state that a restore must bring back.
# USR1 is answered with one line that describes them; TERM undoes them one by one and says what comes out.
use strict;
use warnings;
use POSIX qw(:signal_h :sys_wait_h setsid);

$| = 1;
my %child;

sub born {
    my ($name, $body) = @_;
    pipe(my $ready, my $done) or die;
    my $pid = fork() // die;
    if ($pid == 0) {
        $SIG{$_} = 'DEFAULT' for qw(USR1 TERM);
        $body->();
        close $done;
        sleep 1000 while 1;
    }
    close $done;
    readline $ready;
    $child{$name} = $pid;
}

sub stat_of {
    my ($pid) = @_;
    open(my $file, '<', "/proc/$pid/stat") or return 'gone';
    my (undef, $rest) = split /\) /, readline $file;
    my ($state, undef, $group, $session) = split / /, $rest;
    # Waiting for a pipe, a timer or the processor is all the same here.
    $state =~ s/[SRD]/alive/;
    return "$state group $group session $session";
}

sub masks {
    my ($pid) = @_;
    open(my $file, '<', "/proc/$pid/status") or die;
    return join ' ', map { /^((?:Sig|Shd)(?!Q)\w+):\s*(\w+)/ ? "$1=$2" : () } readline $file;
}

sub describe { return join(', ', masks($$), masks($child{pending}), map { "$_ $child{$_} " . stat_of($child{$_}) } sort keys %child); }

$SIG{HUP} = 'IGNORE';
my $got = 0;
$SIG{USR2} = sub { $got++ };
sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGUSR2, SIGALRM));
kill 'USR2', $$;
born('exited', sub { POSIX::_exit(7) });
born('killed', sub { kill 'KILL', $$ });
born('stopped', sub { });
kill 'STOP', $child{stopped};
waitpid $child{stopped}, WUNTRACED;
born('group', sub { setpgrp });
born('session', sub { setsid });
born('pending', sub { sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGTERM)); kill 'TERM', $$ });

sub undo {
    for my $name (qw(exited killed)) {
        my $reaped = waitpid $child{$name}, 0;
        print "$name ", ($reaped == $child{$name} ? $? : "not reaped: $!"), "\n";
    }
    kill 'CONT', $child{stopped};
    select undef, undef, undef, 0.01 until stat_of($child{stopped}) =~ /^alive/;
    print "stopped continues\n";
    sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(SIGUSR2));
    print "usr2 $got\n";
    exit 3;
}

my ($asked, $ends) = (0, 0);
$SIG{USR1} = sub { $asked = 1 };
$SIG{TERM} = sub { $ends = 1 };
# A process that has just ended may not be a zombie yet.
select undef, undef, undef, 0.01 until 2 == grep { stat_of($child{$_}) =~ /^Z/ } qw(exited killed);
print "ready\n";
while (1) {
    select undef, undef, undef, 1;
    print describe(), "\n" if $asked;
    $asked = 0;
    undo() if $ends;
}
