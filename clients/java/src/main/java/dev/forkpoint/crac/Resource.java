package dev.forkpoint.crac;

/** Something that takes part in checkpoints; the contract is that of org.crac.Resource. */
public interface Resource {
  /** Called before a checkpoint; an exception means that no image is made. */
  void beforeCheckpoint(Context<? extends Resource> context) throws Exception;

  /** Called in the restored program, and in the original when it goes on. */
  void afterRestore(Context<? extends Resource> context) throws Exception;
}
