package dev.forkpoint.crac;

/** No image was made. Its reasons are the suppressed exceptions. */
public class CheckpointException extends Exception {
  private static final long serialVersionUID = 1;

  /** Makes one without a message, as CRaC does: the reasons say it all. */
  public CheckpointException() {}

  /** Makes one with a message. */
  public CheckpointException(String message) {
    super(message);
  }
}
