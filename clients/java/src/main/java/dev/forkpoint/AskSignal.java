package dev.forkpoint;

import sun.misc.Signal;

/** SIGURG, by which the launcher says that somebody outside asks for a checkpoint. */
final class AskSignal {
  private AskSignal() {}

  static void listen(Runnable asked) {
    try {
      Signal.handle(new Signal("URG"), signal -> asked.run());
    } catch (IllegalArgumentException | NoClassDefFoundError error) {
      // A runtime image without jdk.unsupported, or a JVM with -Xrs: it cannot be asked, and the worker says so in time.
      Threads.report(new ForkpointException("ERR_FORKPOINT_SIGNAL", "this JVM cannot be asked from outside", error));
    }
  }
}
