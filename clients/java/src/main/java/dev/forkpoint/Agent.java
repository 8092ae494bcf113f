package dev.forkpoint;

import java.lang.instrument.Instrumentation;

/** The entry of the agent that {@code forkpoint run -- java} adds: the JVM is a member before its main class runs. */
public final class Agent {
  private Agent() {}

  /** Called by the JVM. */
  public static void premain(String arguments, Instrumentation instrumentation) {
    if (System.getenv("FORKPOINT_DIR") == null) return;
    Opened.open(instrumentation);
    try {
      Management.define(instrumentation);
    } catch (ReflectiveOperationException | java.io.IOException | LinkageError error) {
      // org.crac then says -1 for both figures, as it does where there is no such bean.
      Threads.report(error);
    }
    Forkpoint.isImplemented();
  }
}
