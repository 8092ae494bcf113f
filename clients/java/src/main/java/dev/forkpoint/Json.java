package dev.forkpoint;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The little JSON that the control directory needs; a library may not bring another one into its program. */
final class Json {
  private static final int DEPTH_MAX = 64;
  private final String text;
  private int at;
  private int depth;

  private Json(String text) {
    this.text = text;
  }

  /** Parses an object; throws IllegalArgumentException for anything else. */
  static Map<String, Object> parseObject(String text) {
    Json json = new Json(text);
    Object value = json.value();
    json.blanks();
    if (json.at != text.length()) throw json.wrong("more text behind the value");
    return object(value);
  }

  /** Returns a value as an object; an empty one for anything else. */
  @SuppressWarnings("unchecked")
  static Map<String, Object> object(Object value) {
    return value instanceof Map ? (Map<String, Object>) value : Map.of();
  }

  /** Returns a value as a list; an empty one for anything else. */
  static List<?> list(Object value) {
    return value instanceof List ? (List<?>) value : List.of();
  }

  /** Writes maps, lists, text, numbers, booleans and null. */
  static String write(Object value) {
    StringBuilder out = new StringBuilder();
    write(value, out);
    return out.toString();
  }

  private static void write(Object value, StringBuilder out) {
    if (value instanceof Map) {
      String separator = "{";
      for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
        quote(out.append(separator), String.valueOf(entry.getKey()));
        write(entry.getValue(), out.append(':'));
        separator = ",";
      }
      out.append(separator.equals("{") ? "{}" : "}");
    } else if (value instanceof Iterable) {
      String separator = "[";
      for (Object item : (Iterable<?>) value) {
        write(item, out.append(separator));
        separator = ",";
      }
      out.append(separator.equals("[") ? "[]" : "]");
    } else if (value == null || value instanceof Boolean || value instanceof Number) {
      out.append(value);
    } else {
      quote(out, value.toString());
    }
  }

  private static void quote(StringBuilder out, String text) {
    out.append('"');
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (c == '"' || c == '\\') out.append('\\').append(c);
      else if (c < ' ' || Character.isSurrogate(c)) out.append(String.format("\\u%04x", (int) c));
      else out.append(c);
    }
    out.append('"');
  }

  private Object value() {
    blanks();
    if (at >= text.length()) throw wrong("it ends early");
    char c = text.charAt(at);
    if (c == '{') return map();
    if (c == '[') return array();
    if (c == '"') return string();
    if (take("true")) return true;
    if (take("false")) return false;
    if (take("null")) return null;
    return number();
  }

  private Map<String, Object> map() {
    Map<String, Object> map = new LinkedHashMap<>();
    open();
    if (!closes('}')) {
      do {
        blanks();
        String key = string();
        blanks();
        expect(':');
        map.put(key, value());
      } while (goesOn('}'));
    }
    depth--;
    return map;
  }

  private List<Object> array() {
    List<Object> items = new ArrayList<>();
    open();
    if (!closes(']')) {
      do items.add(value());
      while (goesOn(']'));
    }
    depth--;
    return items;
  }

  private void open() {
    at++;
    if (++depth > DEPTH_MAX) throw wrong("it is nested too deeply");
  }

  private boolean closes(char end) {
    blanks();
    if (at >= text.length() || text.charAt(at) != end) return false;
    at++;
    return true;
  }

  private boolean goesOn(char end) {
    if (closes(end)) return false;
    expect(',');
    return true;
  }

  private String string() {
    expect('"');
    StringBuilder out = new StringBuilder();
    for (;;) {
      if (at >= text.length()) throw wrong("a text does not end");
      char c = text.charAt(at++);
      if (c == '"') return out.toString();
      out.append(c == '\\' ? escaped() : c);
    }
  }

  private char escaped() {
    if (at >= text.length()) throw wrong("a text does not end");
    char c = text.charAt(at++);
    switch (c) {
      case 'n': return '\n';
      case 't': return '\t';
      case 'r': return '\r';
      case 'b': return '\b';
      case 'f': return '\f';
      case 'u':
        if (at + 4 > text.length()) throw wrong("a text does not end");
        at += 4;
        return (char) Integer.parseInt(text.substring(at - 4, at), 16);
      default: return c;
    }
  }

  private Object number() {
    int start = at;
    while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) at++;
    String digits = text.substring(start, at);
    try {
      return digits.matches("-?\\d{1,18}") ? (Object) Long.valueOf(digits) : Double.valueOf(digits);
    } catch (NumberFormatException error) {
      throw wrong("there is no value");
    }
  }

  private void blanks() {
    while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
  }

  private boolean take(String word) {
    if (!text.startsWith(word, at)) return false;
    at += word.length();
    return true;
  }

  private void expect(char c) {
    if (at >= text.length() || text.charAt(at) != c) throw wrong("`" + c + "` is missing");
    at++;
  }

  private IllegalArgumentException wrong(String what) {
    return new IllegalArgumentException("not JSON at character " + at + ": " + what);
  }
}
