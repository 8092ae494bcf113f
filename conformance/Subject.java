import dev.forkpoint.Child;
import dev.forkpoint.Forked;
import dev.forkpoint.Forkpoint;
import dev.forkpoint.ForkpointException;
import dev.forkpoint.Self;
import dev.forkpoint.crac.CheckpointException;
import dev.forkpoint.crac.Context;
import dev.forkpoint.crac.Core;
import dev.forkpoint.crac.Resource;
import dev.forkpoint.crac.RestoreException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.Callable;

/** The subject of the conformance script in Java; README.md of this directory says what each scenario has to print. */
public class Subject {
  static final List<Resource> KEPT = new ArrayList<>();
  static volatile boolean told;

  static void say(Object... parts) {
    StringBuilder line = new StringBuilder();
    for (Object part : parts) line.append(line.isEmpty() ? "" : " ").append(part);
    System.out.println(line);
  }

  record Hook(String name, String fails) implements Resource {
    @Override
    public void beforeCheckpoint(Context<? extends Resource> context) {
      say("before", name);
      if (fails.equals("before")) throw new IllegalArgumentException("boom " + name);
    }

    @Override
    public void afterRestore(Context<? extends Resource> context) {
      say("after", name);
      told = true;
      if (fails.equals("after")) throw new IllegalArgumentException("boom " + name);
    }
  }

  static void register(Resource... hooks) {
    for (Resource hook : hooks) {
      KEPT.add(hook);
      Core.getGlobalContext().register(hook);
    }
  }

  static void attempt(Callable<?> ask) throws Exception {
    try {
      ask.call();
    } catch (CheckpointException | RestoreException error) {
      String code = "ERR_FORKPOINT_HOOK";
      String text = "-";
      for (Throwable reason : error.getSuppressed()) {
        if (reason instanceof ForkpointException own) code = own.code();
        if (String.valueOf(reason.getMessage()).startsWith("Recursive")) code = "ERR_FORKPOINT_NESTED";
        if (String.valueOf(reason.getMessage()).contains("boom")) text = "boom";
      }
      say("failed", code, text);
    } catch (ForkpointException error) {
      say("failed", error.code(), "-");
    }
  }

  static Path path(String word) {
    return word == null ? null : Path.of(word);
  }

  static String outcome(String word) throws Exception {
    return Forkpoint.checkpoint(path(word)).isRestored() ? "restored" : "continued";
  }

  public static void main(String[] words) throws Exception {
    String to = words.length > 1 ? words[1] : null;
    switch (words[0]) {
      case "hooks" -> {
        register(new Hook("a", ""), new Hook("b", ""), new Hook("c", ""));
        Forkpoint.checkpointRestore(path(to));
        String color = System.getenv("FLAVOUR");
        say("restored", String.join(",", Forkpoint.args()), color == null ? "-" : color);
      }
      case "before", "after" -> {
        register(new Hook("a", words[0]), new Hook("b", ""));
        attempt(() -> Forkpoint.checkpoint(path(to)));
        say("alive");
      }
      case "dump" -> {
        register(new Hook("a", ""));
        attempt(() -> Forkpoint.checkpoint(path(to)));
        say("alive");
        say(outcome(words[2]));
      }
      case "nested" -> {
        register(new Nested(to));
        say(outcome(to));
      }
      case "chain" -> {
        for (int count = 1; count <= 5; count++) {
          Self self = Forkpoint.checkpointRestore(path(to));
          say("generation", self.generation(), "count", count);
        }
      }
      case "destinations" -> {
        for (int i = 1; i <= words.length; i++) {
          Forkpoint.Outcome result = Forkpoint.checkpoint(path(i < words.length ? words[i] : null));
          say(result.isRestored() ? "restored" : "continued", result.image());
        }
      }
      case "outside" -> {
        register(new Hook("a", ""));
        say("up");
        while (!told || !Forkpoint.args().contains("end")) Thread.sleep(20);
        say("end");
      }
      case "unique" -> {
        Math.random();
        UUID.randomUUID();
        Forkpoint.checkpointRestore(path(to));
        for (int i = 0; i < 20; i++) say("token", Math.random());
        say("strong", UUID.randomUUID());
        say("strong", UUID.randomUUID());
      }
      case "fork" -> {
        register(new Hook("a", ""));
        for (int count : new int[] {3, 1}) {
          Forked forked = Forkpoint.fork(count, Forkpoint.Stdio.INHERIT);
          if (forked.isChild()) {
            say("child", forked.index(), Math.random());
            System.exit(10 + forked.index());
          }
          List<String> codes = new ArrayList<>();
          for (Child child : forked.children()) codes.add(String.valueOf(child.waitFor()));
          say("ended", String.join(",", codes));
        }
      }
      default -> {
        say("implemented", Forkpoint.isImplemented());
        attempt(() -> Forkpoint.checkpoint(path(to)));
      }
    }
  }

  record Nested(String to) implements Resource {
    @Override
    public void beforeCheckpoint(Context<? extends Resource> context) throws Exception {
      attempt(() -> Forkpoint.checkpoint(path(to)));
    }

    @Override
    public void afterRestore(Context<? extends Resource> context) {}
  }
}
