package dev.forkpoint;

import java.util.LinkedHashMap;
import java.util.Map;

/** One line of an outcome FIFO. */
record Answer(Map<String, Object> fields) {
  static Answer parse(String line) {
    try {
      return new Answer(Json.parseObject(line));
    } catch (IllegalArgumentException error) {
      throw new ForkpointException("ERR_FORKPOINT_PROTOCOL", "an outcome is " + error.getMessage(), error);
    }
  }

  String outcome() {
    return Self.text(fields.get("outcome"), "");
  }

  boolean is(String outcome) {
    return outcome.equals(outcome());
  }

  boolean isPending() {
    return Boolean.TRUE.equals(fields.get("pending"));
  }

  boolean isReseeded() {
    return !Boolean.FALSE.equals(fields.get("reseed"));
  }

  /** Whether this clone stands still until somebody needs it. */
  boolean isParked() {
    return Boolean.TRUE.equals(Json.object(fields.get("fork")).get("parked"));
  }

  /** This answer with the arguments and variables with which a parked clone is handed over. */
  Answer assigned(Map<String, Object> line) {
    Map<String, Object> env = new LinkedHashMap<>(Json.object(fields.get("env")));
    env.putAll(Json.object(line.get("env")));
    Map<String, Object> all = new LinkedHashMap<>(fields);
    all.put("args", line.get("args"));
    all.put("env", env);
    return new Answer(all);
  }

  Self self() {
    return Self.of(fields);
  }

  /** The class to run in a restored JVM, or null. */
  String main() {
    return Self.text(fields.get("main"), null);
  }

  Map<String, String> properties() {
    return Self.pairs(fields.get("properties"));
  }

  /** What a failure says, with everything that stands in the way. */
  ForkpointException failure() {
    if (!is("failed")) {
      String message = "the launcher answered `" + outcome() + "` where that has no meaning";
      return new ForkpointException("ERR_FORKPOINT_PROTOCOL", message);
    }
    StringBuilder message = new StringBuilder(Self.text(fields.get("message"), "the checkpoint failed"));
    for (Object resource : Json.list(fields.get("resources"))) {
      Map<String, Object> one = Json.object(resource);
      String what = Self.text(one.get("what"), "");
      if (!what.isEmpty() && message.indexOf(what) < 0) message.append("\n  ").append(what);
    }
    if (fields.get("hint") instanceof String hint) message.append("\nHint: ").append(hint);
    return new ForkpointException(Self.text(fields.get("code"), "ERR_FORKPOINT_FAILED"), message.toString());
  }
}
