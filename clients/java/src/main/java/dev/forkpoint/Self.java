package dev.forkpoint;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Who this run is. {@code image} and {@code parentId} are null in a program that was not restored, {@code index} is null
 * unless it is one of several children.
 */
public record Self(
    String id,
    String image,
    String parentId,
    long generation,
    Long index,
    List<String> args,
    Map<String, String> env,
    long elapsedMs) {

  static Self of(Map<String, Object> fields) {
    List<String> args = new ArrayList<>();
    for (Object arg : Json.list(fields.get("args"))) if (arg instanceof String text) args.add(text);
    return new Self(
        text(fields.get("id"), ""),
        text(fields.get("image"), null),
        text(fields.get("parentId"), null),
        number(fields.get("generation"), 0),
        fields.get("index") instanceof Number index ? (Long) index.longValue() : null,
        List.copyOf(args),
        pairs(fields.get("env")),
        number(fields.get("elapsedMs"), 0));
  }

  static Map<String, String> pairs(Object value) {
    Map<String, String> found = new LinkedHashMap<>();
    for (Map.Entry<String, Object> entry : Json.object(value).entrySet())
      if (entry.getValue() instanceof String text) found.put(entry.getKey(), text);
    return Map.copyOf(found);
  }

  static String text(Object value, String otherwise) {
    return value instanceof String text ? text : otherwise;
  }

  static long number(Object value, long otherwise) {
    return value instanceof Number number ? number.longValue() : otherwise;
  }
}
