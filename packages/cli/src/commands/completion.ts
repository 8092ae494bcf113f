import type { Command } from 'commander';
import { completionScript, isShell } from '../completion/scripts.ts';
import type { Cli } from '../context.ts';
import { usageError } from '../error.ts';
import type { Finish } from '../program.ts';

/** Adds `forkpoint completion`. */
export function addCompletion(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('completion')
    .summary('print the completion script of a shell')
    .description(
      'Prints a script that completes verbs, options, runs, images and slots in bash, zsh or fish.',
    )
    .argument('<shell>', 'bash, zsh or fish')
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint completion bash > ~/.local/share/bash-completion/completions/forkpoint\n' +
        '  forkpoint completion zsh > ~/.zfunc/_forkpoint\n  forkpoint completion fish > ~/.config/fish/completions/forkpoint.fish',
    )
    .action((shell: string) => {
      if (!isShell(shell))
        throw usageError(`there is no completion for \`${shell}\``, 'Choose bash, zsh or fish');
      cli.writeOut(completionScript(shell));
      finish(0);
    });
}
