import java.util.Arrays;
import org.crac.Context;
import org.crac.Core;
import org.crac.Resource;

/** A program that knows org.crac and nothing of forkpoint. `CracApp SCENARIO`. */
public class CracApp {
  static Hook[] kept;

  static class Hook implements Resource {
    final String name;
    final boolean fails;

    Hook(String name, boolean fails) {
      this.name = name;
      this.fails = fails;
    }

    @Override
    public void beforeCheckpoint(Context<? extends Resource> context) throws Exception {
      System.out.println("before " + name);
      if (fails) throw new IllegalStateException("a connection is open");
    }

    @Override
    public void afterRestore(Context<? extends Resource> context) throws Exception {
      System.out.println("after " + name + " " + System.getProperty("colour"));
      if (fails) throw new IllegalArgumentException("cannot connect again");
    }
  }

  public static void main(String[] args) throws Exception {
    boolean fails = args[0].equals("fails");
    kept = new Hook[] {new Hook("a", false), new Hook("b", fails)};
    for (Hook hook : kept) Core.getGlobalContext().register(hook);
    // Nobody holds this one: it has gone by the time of the checkpoint.
    Core.getGlobalContext().register(new Hook("garbage", false));
    System.gc();
    try {
      Core.checkpointRestore();
      System.out.println("main goes on " + Arrays.toString(args));
    } catch (org.crac.CheckpointException error) {
      for (Throwable reason : error.getSuppressed()) System.out.println("suppressed " + reason);
    } catch (UnsupportedOperationException error) {
      System.out.println("not implemented");
    }
  }

  /** Runs in a restored JVM with --main. */
  public static class Other {
    public static void main(String[] args) throws Exception {
      System.out.println("other " + Arrays.toString(args));
      if (args.length > 0 && args[0].equals("again")) {
        Core.checkpointRestore();
        System.out.println("other goes on");
      }
      if (args.length > 0 && args[0].equals("exit")) System.exit(5);
    }
  }
}
