package dev.forkpoint;

import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.util.Map;

/** The environment as System.getenv tells it, which a JVM copies once at its start. */
final class Environment {
  private Environment() {}

  /** Sets variables given to the restore. Needs java.lang to be open, which the agent sees to. */
  @SuppressWarnings("unchecked")
  static void change(Map<String, String> changes) throws ReflectiveOperationException {
    if (changes.isEmpty() || !Opened.isOpen("java.lang")) return;
    Field field = Class.forName("java.lang.ProcessEnvironment").getDeclaredField("theEnvironment");
    field.setAccessible(true);
    Map<Object, Object> environment = (Map<Object, Object>) field.get(null);
    for (Map.Entry<String, String> change : changes.entrySet()) {
      environment.put(wrap("Variable", change.getKey()), wrap("Value", change.getValue()));
    }
  }

  private static Object wrap(String kind, String text) throws ReflectiveOperationException {
    Method valueOf = Class.forName("java.lang.ProcessEnvironment$" + kind).getMethod("valueOf", String.class);
    valueOf.setAccessible(true);
    return valueOf.invoke(null, text);
  }
}
