package dev.forkpoint;

import dev.forkpoint.crac.CheckpointException;
import dev.forkpoint.crac.Core;
import dev.forkpoint.crac.OrderedContext;
import dev.forkpoint.crac.RestoreException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.ReentrantLock;

/** This process as one that takes part in checkpoints: it asks for them, and answers when somebody outside asks. */
final class Member {
  /** Longest time for the worker to look at the program, behind other checkpoints that may still be written. */
  private static final long PREPARE_LIMIT_MS = 600_000;
  /** Longest time for an image to be written, linked and published after the dump. */
  private static final long PUBLISH_LIMIT_MS = 1_800_000;
  /** Longest time for the answer to a request that was cancelled here. */
  private static final long CANCEL_LIMIT_MS = 5_000;

  private final long pid = ProcessHandle.current().pid();
  private final Control control;
  /** Held from the first before hook to the last after hook: one checkpoint at a time. */
  private final ReentrantLock round = new ReentrantLock(true);
  /** Held by who asks for a checkpoint itself: requests run one after another. */
  private final ReentrantLock requests = new ReentrantLock(true);
  private volatile Self self;
  private volatile long restoreTime = -1;
  private volatile long restoredAtNanos;
  private volatile int restores;
  private volatile boolean isReseeded;
  private volatile String lastAsk = "";

  Member(Control control) throws IOException {
    this.control = control;
    this.self = Self.of(control.identity());
  }

  void join() throws IOException {
    control.writeInfo(info());
    control.send(Map.of("op", "join", "pid", pid));
    Runtime.getRuntime().addShutdownHook(new Thread(control::leave, "forkpoint-leave"));
    AskSignal.listen(() -> Threads.start("forkpoint-asked", this::onAsked));
  }

  Self self() {
    return self;
  }

  boolean isReseeded() {
    return isReseeded;
  }

  long restoreTime() {
    return restoreTime;
  }

  long uptimeSinceRestore() {
    return restoreTime == -1 ? -1 : (System.nanoTime() - restoredAtNanos) / 1_000_000;
  }

  /** Called with the first answer, before the after hooks. */
  private interface Answered {
    void take(Answer answer) throws IOException;
  }

  /** Forks this process, by one dump from which all children start. */
  Forked fork(Map<String, Object> options, int count) throws CheckpointException, RestoreException {
    String name = "fork-" + Long.toHexString(Entropy.longAt(Entropy.bytes(8), 0)) + ".sock";
    Map<String, Object> request = new LinkedHashMap<>(options);
    request.put("count", count);
    request.put("socket", name);
    Nursery[] nursery = new Nursery[1];
    List<ForkpointException> errors = new ArrayList<>();
    try {
      Answer answer =
          request(
              request,
              first -> {
                if (first.is("continued")) nursery[0] = new Nursery(control.directory().resolve(name), count);
              });
      if (answer.is("restored")) {
        Long index = self.index();
        Channel channel = Nursery.reach(control.directory(), answer.fields().get("fork"));
        return new Forked(true, index == null ? 0 : index.intValue(), List.of(), List.of(), channel);
      }
      List<Child> children = nursery[0].settle(errors);
      if (!children.isEmpty()) return new Forked(false, -1, List.copyOf(children), List.copyOf(errors), null);
    } catch (IOException error) {
      throw failed(error);
    } catch (CheckpointException | RestoreException error) {
      abort(nursery[0]);
      throw error;
    }
    CheckpointException none = failed(new ForkpointException("ERR_FORKPOINT_FORK", "no child came to live"));
    for (ForkpointException error : errors) none.addSuppressed(error);
    throw none;
  }

  private static void abort(Nursery nursery) {
    try {
      if (nursery != null) nursery.abort();
    } catch (IOException error) {
      // The reason of the failure, which the caller is about to report, matters more.
    }
  }

  Answer request(Map<String, Object> options) throws CheckpointException, RestoreException {
    return request(options, first -> {});
  }

  /** Asks for a checkpoint; with {@code stop} this process ends once the image is published. */
  private Answer request(Map<String, Object> options, Answered answered) throws CheckpointException, RestoreException {
    if (round.isHeldByCurrentThread()) {
      throw failed(new IllegalStateException("Recursive checkpoint is not allowed"));
    }
    Answer answer = requestAlone(options, answered);
    // Behind all locks: the new main class may ask for a checkpoint itself.
    if (answer.is("restored") && answer.main() != null) NewMain.run(answer.main(), self.args());
    return answer;
  }

  private Answer requestAlone(Map<String, Object> options, Answered answered)
      throws CheckpointException, RestoreException {
    requests.lock();
    try {
      prepare(options);
      if (!options.containsKey("count")) Compilers.settle();
      round.lock();
      try {
        return conclude(runRound(null, answered, !options.containsKey("count")));
      } finally {
        round.unlock();
      }
    } catch (IOException | ForkpointException error) {
      throw failed(error);
    } finally {
      requests.unlock();
    }
  }

  private record Result(Answer answer, Throwable failure) {}

  /** Lets the worker look at the program while it runs; throws what it found. */
  private void prepare(Map<String, Object> options) throws IOException {
    int sentAt = -1;
    for (; ; ) {
      // A checkpoint that somebody outside has asked for comes first, and needs the FIFO.
      round.lock();
      try {
        control.awaitFifo();
        control.listen();
        if (sentAt != restores) {
          Map<String, Object> line = new LinkedHashMap<>(Map.of("op", "prepare", "pid", pid));
          line.putAll(options);
          control.send(line);
          sentAt = restores;
        }
      } finally {
        round.unlock();
      }
      Answer answer = control.nextAnswer(PREPARE_LIMIT_MS);
      if (answer == null) continue;
      control.stopListening();
      if (answer.is("prepared")) return;
      throw answer.failure();
    }
  }

  /** Before hooks, the checkpoint itself, after hooks. The failure of the result is what went wrong after the answer. */
  private Result runRound(String ask, Answered answered, boolean collects) throws CheckpointException {
    // With hooks switched off a server keeps its socket, which becomes a slot: each clone gets an address of its own.
    boolean hasHooks = !"off".equals(System.getProperty("forkpoint.hooks"));
    OrderedContext<?> context = hasHooks ? (OrderedContext<?>) Core.getGlobalContext() : new OrderedContext<>();
    CheckpointException failure = null;
    Answer answer = null;
    RestoreException after = new RestoreException();
    try {
      context.beforeCheckpoint(null);
    } catch (CheckpointException thrown) {
      failure = thrown;
      cancel(ask, thrown);
    }
    if (failure == null) {
      try {
        answer = freeze(ask, collects);
        if (answer.is("restored")) wake(answer, after);
        answered.take(answer);
      } catch (IOException | ForkpointException error) {
        failure = failed(error);
      }
    }
    try {
      context.afterRestore(null);
    } catch (RestoreException thrown) {
      for (Throwable reason : thrown.getSuppressed()) (failure == null ? after : failure).addSuppressed(reason);
    }
    if (failure != null) {
      dropAnswer();
      throw failure;
    }
    return new Result(answer, after.getSuppressed().length == 0 ? null : after);
  }

  /** Says that the hooks have run and blocks until the checkpoint is taken. */
  private Answer freeze(String ask, boolean collects) throws IOException {
    // Garbage would be in the image too; and the cleaners close what only garbage holds open. For a fork that is not worth the pause, in
    // which all of the heap would be written to that a restored parent shares with its image.
    if (collects) System.gc();
    control.awaitFifo();
    control.stopListening();
    Map<String, Object> ready = new LinkedHashMap<>(Map.of("op", "ready", "pid", pid));
    if (ask != null) {
      if (!ask.equals(String.valueOf(control.ask().get("ask")))) {
        String message = "the before hooks ended after the time limit of the checkpoint";
        throw new ForkpointException("ERR_FORKPOINT_TIMEOUT", message);
      }
      ready.put("ask", ask);
    }
    control.writeInfo(info());
    control.send(ready);
    return control.blockForAnswer();
  }

  /** Makes this process a clone of its own before its hooks run. */
  private void wake(Answer answer, RestoreException failures) {
    Nursery.abandon();
    self = answer.self();
    isReseeded = answer.isReseeded();
    restores++;
    lastAsk = "";
    List<Threads.Step> steps =
        List.of(
            () -> {
              if (answer.isReseeded()) Reseed.process();
            },
            () -> {
              if (answer.isParked()) self = answer.assigned(control.blockForAssignment()).self();
              restoreTime = System.currentTimeMillis();
              restoredAtNanos = System.nanoTime();
            },
            () -> Environment.change(self.env()),
            () -> answer.properties().forEach(System::setProperty),
            () -> control.writeInfo(info()));
    for (Threads.Step step : steps) {
      try {
        step.run();
      } catch (Exception error) {
        failures.addSuppressed(error);
      }
    }
  }

  private Answer conclude(Result result) throws IOException, CheckpointException, RestoreException {
    Answer answer = result.answer;
    if (answer.isPending()) {
      Answer second = control.nextAnswer(PUBLISH_LIMIT_MS);
      control.stopListening();
      if (second != null) answer = second;
    }
    if (answer.is("failed") || answer.is("prepared")) {
      CheckpointException failure = failed(answer.failure());
      if (result.failure != null) for (Throwable one : result.failure.getSuppressed()) failure.addSuppressed(one);
      throw failure;
    }
    if (result.failure instanceof RestoreException failure) throw failure;
    return answer;
  }

  private void onAsked() {
    try {
      Map<String, Object> ask = control.ask();
      String id = String.valueOf(ask.get("ask"));
      // SIGURG may come for another reason, and more than once for the same checkpoint.
      if (!Json.list(ask.get("pids")).contains(pid)) return;
      round.lock();
      try {
        if (id.equals(lastAsk)) return;
        lastAsk = id;
        Compilers.settle();
        Result result = runRound(id, first -> {}, true);
        if (result.failure != null) Threads.report(result.failure);
        if (result.answer.isPending()) control.nextAnswer(PUBLISH_LIMIT_MS);
        control.stopListening();
        if (result.answer.is("restored") && result.answer.main() != null && result.failure == null) {
          Threads.start("main", () -> NewMain.run(result.answer.main(), self.args()));
        }
      } finally {
        round.unlock();
      }
    } catch (CheckpointException told) {
      // Who asked has been told; the program did not ask and goes on.
    } catch (Exception error) {
      Threads.report(error);
    }
  }

  private void cancel(String ask, CheckpointException reasons) {
    StringBuilder message = new StringBuilder();
    for (Throwable reason : reasons.getSuppressed()) message.append(message.isEmpty() ? "" : "; ").append(reason);
    String text = message.length() > 1000 ? message.substring(0, 1000) : message.toString();
    Map<String, Object> line = new LinkedHashMap<>(Map.of("op", "cancel", "pid", pid, "message", text));
    if (ask != null) line.put("ask", ask);
    try {
      if (ask == null) control.listen();
      control.send(line);
    } catch (IOException | ForkpointException error) {
      // The caller is about to report what went wrong first; the worker's time limit ends the checkpoint.
      Threads.report(error);
    }
  }

  /** Reads the `failed` that a cancelled request is answered with, so that it meets no later one. */
  private void dropAnswer() {
    try {
      control.nextAnswer(CANCEL_LIMIT_MS);
    } catch (IOException | ForkpointException nothing) {
      // The reason of the cancellation, which the caller is about to report, matters more.
    } finally {
      control.stopListening();
    }
  }

  private Map<String, Object> info() {
    Runtime memory = Runtime.getRuntime();
    Map<String, Object> info = new LinkedHashMap<>();
    info.put("v", 1);
    info.put("pid", pid);
    info.put("runtime", Map.of("name", "java", "version", Runtime.version().toString()));
    info.put("hooks", true);
    info.put(
        "score",
        Map.of("heapUsedBytes", memory.totalMemory() - memory.freeMemory(), "heapTotalBytes", memory.totalMemory()));
    return info;
  }

  private static CheckpointException failed(Throwable reason) {
    CheckpointException failure = new CheckpointException();
    failure.addSuppressed(reason);
    return failure;
  }
}
