package dev.forkpoint;

import java.lang.instrument.Instrumentation;
import java.util.Map;
import java.util.Set;

/** Packages of the JDK whose private state has to change in a clone. */
final class Opened {
  private static final Set<String> PACKAGES =
      Set.of("java.lang", "java.util", "java.util.concurrent", "java.security", "sun.security.provider");

  private Opened() {}

  /** Opens them to this library; an agent may, without flags on the command line. */
  static void open(Instrumentation instrumentation) {
    Set<Module> self = Set.of(Opened.class.getModule());
    Map<String, Set<Module>> opens = new java.util.HashMap<>();
    for (String name : PACKAGES) opens.put(name, self);
    instrumentation.redefineModule(Object.class.getModule(), Set.of(), Map.of(), opens, Set.of(), Map.of());
  }

  static boolean isOpen(String name) {
    return Object.class.getModule().isOpen(name, Opened.class.getModule());
  }
}
