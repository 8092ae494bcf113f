package dev.forkpoint;

import dev.forkpoint.crac.CheckpointException;
import dev.forkpoint.crac.RestoreException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** Checkpoints of this JVM, in which {@code forkpoint run -- java} has started it. Hooks are org.crac's or {@link dev.forkpoint.crac.Core}'s. */
public final class Forkpoint {
  private static final Member MEMBER = join();

  private Forkpoint() {}

  /** What a checkpoint came to in this process. {@code image} is where it lies. */
  public record Outcome(boolean isRestored, String image, Self self) {}

  private static Member join() {
    String directory = System.getenv("FORKPOINT_DIR");
    if (directory == null || directory.isEmpty()) return null;
    try {
      Member member = new Member(new Control(Path.of(directory), ProcessHandle.current().pid()));
      member.join();
      return member;
    } catch (IOException | RuntimeException error) {
      // A program must start although its surroundings are gone; its calls then say that there is no runtime.
      Threads.report(new ForkpointException("ERR_FORKPOINT_NO_RUNTIME", directory + " cannot be used", error));
      return null;
    }
  }

  /** Whether this JVM can be checkpointed: whether it runs in a pod. */
  public static boolean isImplemented() {
    return MEMBER != null;
  }

  /** Like {@link #checkpointRestore(Path)}, to where {@code --to} says. */
  public static Self checkpointRestore() throws CheckpointException, RestoreException {
    return checkpointRestore(null);
  }

  /**
   * Ends this process once its image at {@code to} is complete, and returns in every restored one.
   *
   * @throws CheckpointException when no image was made: this process goes on, and all after hooks have run
   * @throws RestoreException when something failed in the restored process
   */
  public static Self checkpointRestore(Path to) throws CheckpointException, RestoreException {
    return member().request(options(to, true)).self();
  }

  /** Takes an image at {@code to}, or where {@code --to} says when it is null, and goes on. Returns in both. */
  public static Outcome checkpoint(Path to) throws CheckpointException, RestoreException {
    Answer answer = member().request(options(to, false));
    return new Outcome(answer.is("restored"), answer.self().image(), answer.self());
  }

  /** Where the standard streams of children go. */
  public enum Stdio {
    /** To those of this process. */
    INHERIT,
    /** To streams of {@link Child}. */
    PIPE,
    /** Nowhere. */
    IGNORE
  }

  /** Starts one child from the state that this JVM is in, threads and compiled code included; see {@link #fork(int, Stdio)}. */
  public static Forked fork() throws CheckpointException, RestoreException {
    return fork(1, Stdio.INHERIT);
  }

  /** Starts {@code count} children. Each continues behind the same call, where {@code isChild} is true; they end with this JVM. */
  public static Forked fork(int count, Stdio stdio) throws CheckpointException, RestoreException {
    if (count < 1) throw new IllegalArgumentException("count is a number above 0, and not " + count);
    return member().fork(Map.of("stdio", stdio.name().toLowerCase(java.util.Locale.ROOT)), count);
  }

  /** Returns what stood behind {@code --} on the restore command. */
  public static List<String> args() {
    return MEMBER == null ? List.of() : MEMBER.self().args();
  }

  /** Returns who this run is. */
  public static Self self() {
    return member().self();
  }

  /** Returns the milliseconds since the last restore; -1 before the first. */
  public static long uptimeSinceRestore() {
    return MEMBER == null ? -1 : MEMBER.uptimeSinceRestore();
  }

  /** Returns the wall clock of the last restore in milliseconds since 1970; -1 before the first. */
  public static long restoreTime() {
    return MEMBER == null ? -1 : MEMBER.restoreTime();
  }

  /** Returns whether the last restore renewed randomness; {@code --no-reseed} switches that off. */
  public static boolean isReseeded() {
    return MEMBER != null && MEMBER.isReseeded();
  }

  /** Has a generator of the program seeded anew in every clone; it is held weakly. Returns it. */
  public static <R extends Random> R reseedOnRestore(R random) {
    Reseed.register(random);
    return random;
  }

  private static Member member() {
    if (MEMBER != null) return MEMBER;
    String message = "this JVM runs outside forkpoint: start it with `forkpoint run -- java ...`";
    throw new ForkpointException("ERR_FORKPOINT_NO_RUNTIME", message);
  }

  private static Map<String, Object> options(Path to, boolean stop) {
    Map<String, Object> options = new LinkedHashMap<>();
    options.put("stop", stop);
    if (to != null) options.put("to", to.toAbsolutePath().toString());
    return options;
  }
}
