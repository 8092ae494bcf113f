package dev.forkpoint.crac;

import dev.forkpoint.Forkpoint;

/**
 * What org.crac looks for when the property org.crac.Core.Compat is {@code dev.forkpoint.crac}: programs that were
 * compiled against org.crac then run on a stock JDK.
 */
public final class Core {
  private static final OrderedContext<Resource> GLOBAL = new OrderedContext<>();

  private Core() {}

  /** The context that every checkpoint notifies. */
  public static Context<Resource> getGlobalContext() {
    return GLOBAL;
  }

  /**
   * Ends this process once its image is complete, and returns in every restored one.
   *
   * @throws CheckpointException when no image was made: this process goes on
   * @throws RestoreException when something failed in the restored process
   * @throws UnsupportedOperationException outside {@code forkpoint run}
   */
  public static void checkpointRestore() throws CheckpointException, RestoreException {
    if (!Forkpoint.isImplemented()) {
      throw new UnsupportedOperationException("this JVM was not started by `forkpoint run -- java`");
    }
    Forkpoint.checkpointRestore();
  }
}
