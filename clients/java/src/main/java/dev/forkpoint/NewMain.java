package dev.forkpoint;

import dev.forkpoint.crac.RestoreException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.List;

/** The class that a restore was given with --main: it runs on the stack of who asked for the checkpoint. */
final class NewMain {
  private NewMain() {}

  static void run(String name, List<String> args) throws RestoreException {
    Method main = find(name.replace('/', '.'));
    try {
      main.invoke(null, (Object) args.toArray(new String[0]));
    } catch (InvocationTargetException thrown) {
      RestoreException failure = new RestoreException();
      failure.addSuppressed(thrown.getCause());
      throw failure;
    } catch (IllegalAccessException error) {
      throw new IllegalStateException(error);
    }
  }

  /** A class that is not there ends the JVM, with the words and the exit code of the `java` command. */
  private static Method find(String name) {
    try {
      Class<?> type = Class.forName(name, true, ClassLoader.getSystemClassLoader());
      Method main = type.getMethod("main", String[].class);
      if (!Modifier.isStatic(main.getModifiers())) throw new NoSuchMethodException(name + ".main is not static");
      main.setAccessible(true);
      return main;
    } catch (ClassNotFoundException | LinkageError error) {
      System.err.println("Error: Could not find or load main class " + name + "\nCaused by: " + error);
    } catch (NoSuchMethodException error) {
      System.err.println("Error: Main method not found in class " + name + ", please define the main method as:\n"
          + "   public static void main(String[] args)");
    }
    System.exit(1);
    throw new AssertionError("unreachable");
  }
}
