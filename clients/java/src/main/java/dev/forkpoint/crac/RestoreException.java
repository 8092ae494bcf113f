package dev.forkpoint.crac;

/** The program was restored, and something failed afterwards. The reasons are the suppressed exceptions. */
public class RestoreException extends Exception {
  private static final long serialVersionUID = 1;

  /** Makes one without a message, as CRaC does: the reasons say it all. */
  public RestoreException() {}

  /** Makes one with a message. */
  public RestoreException(String message) {
    super(message);
  }
}
