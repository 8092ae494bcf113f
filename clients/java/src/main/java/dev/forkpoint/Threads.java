package dev.forkpoint;

/** Small helpers around threads. */
final class Threads {
  private Threads() {}

  /** Something that may throw. */
  interface Step {
    void run() throws Exception;
  }

  /** Starts a thread that keeps the JVM alive until it has ended: hooks are run to their end. */
  static void start(String name, Step step) {
    Thread thread =
        new Thread(
            () -> {
              try {
                step.run();
              } catch (Exception error) {
                report(error);
              }
            },
            name);
    thread.setDaemon(false);
    thread.start();
  }

  /** Tells what has no caller, the way the JVM tells an exception that nobody catches. */
  static void report(Throwable error) {
    Thread thread = Thread.currentThread();
    thread.getUncaughtExceptionHandler().uncaughtException(thread, error);
  }
}
