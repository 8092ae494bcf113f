import java.lang.management.ManagementFactory;
import java.net.Socket;
import java.net.SocketException;
import java.util.Arrays;
import org.crac.Context;
import org.crac.Core;
import org.crac.Resource;
import org.crac.management.CRaCMXBean;

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

  /** Prints what the management bean says, by way of org.crac and of JMX. */
  static void printFigures(long now) throws Exception {
    CRaCMXBean bean = CRaCMXBean.getCRaCMXBean();
    long time = bean.getRestoreTime();
    Object asked = ManagementFactory.getPlatformMBeanServer().getAttribute(bean.getObjectName(), "RestoreTime");
    boolean isNear = time > now - 60_000 && bean.getUptimeSinceRestore() < 60_000;
    System.out.println(
        time == -1
            ? "never restored " + bean.getUptimeSinceRestore() + " " + asked
            : "restored " + isNear + " " + (bean.getUptimeSinceRestore() >= 0) + " " + asked.equals(time));
  }

  /** Keeps a connection open over a checkpoint, and tells what becomes of it. */
  static void talk(int port) throws Exception {
    try (Socket socket = new Socket("127.0.0.1", port)) {
      Core.checkpointRestore();
      try {
        socket.getOutputStream().write(1);
        System.out.println("read " + socket.getInputStream().read());
      } catch (SocketException error) {
        System.out.println(error.getMessage());
      }
    }
    try (Socket again = new Socket("127.0.0.1", port)) {
      again.getOutputStream().write(1);
      System.out.println("connected again " + again.getInputStream().read());
    }
  }

  public static void main(String[] args) throws Exception {
    if (args[0].equals("figures")) {
      printFigures(0);
      Core.checkpointRestore();
      printFigures(System.currentTimeMillis());
      return;
    }
    if (args[0].equals("connected")) {
      talk(Integer.parseInt(args[1]));
      return;
    }
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
