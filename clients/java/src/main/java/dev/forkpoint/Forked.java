package dev.forkpoint;

import java.util.List;

/**
 * What a fork came to. In the parent there are children, and errors of those that did not come to live; in a child
 * {@code index} is its number and {@code channel} leads to the parent.
 */
public record Forked(boolean isChild, int index, List<Child> children, List<ForkpointException> errors, Channel channel) {}
