package dev.forkpoint.crac;

/** A set of resources that is itself a resource, so that contexts form a tree. */
public abstract class Context<R extends Resource> implements Resource {
  /** For implementations. */
  protected Context() {}

  /** Notifies every resource, and throws a CheckpointException that suppresses what they threw. */
  @Override
  public abstract void beforeCheckpoint(Context<? extends Resource> context) throws CheckpointException;

  /** Notifies every resource, and throws a RestoreException that suppresses what they threw. */
  @Override
  public abstract void afterRestore(Context<? extends Resource> context) throws RestoreException;

  /** Adds a resource, which is held weakly: keep a reference. */
  public abstract void register(R resource);
}
