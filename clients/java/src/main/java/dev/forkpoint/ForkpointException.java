package dev.forkpoint;

/** What went wrong, with the stable code that all of forkpoint's clients use, such as ERR_FORKPOINT_NO_RUNTIME. */
public class ForkpointException extends RuntimeException {
  private static final long serialVersionUID = 1;
  private final String code;

  ForkpointException(String code, String message, Throwable cause) {
    super(message, cause);
    this.code = code;
  }

  ForkpointException(String code, String message) {
    this(code, message, null);
  }

  /** Returns the code. */
  public String code() {
    return code;
  }
}
