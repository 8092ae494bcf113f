import { safeText } from '../ui/format.ts';
import type { Completion } from './candidates.ts';

/** The shells that completion knows. */
export type Shell = 'bash' | 'zsh' | 'fish';

/** The hidden verb that the scripts call at every press of the tabulator. */
export const COMPLETE_VERB = '__complete';

// Bash splits words at = and : too; what stands before the last of them is on the line already and is cut off again.
const BASH = `# forkpoint completion for bash: eval "$(forkpoint completion bash)"
_forkpoint() {
  local line=\${COMP_LINE:0:COMP_POINT} words current part value rest directive=nothing
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  current=\${words[\${#words[@]} - 1]}
  part=\${COMP_WORDS[COMP_CWORD]}
  [[ $part == = || $part == : ]] && part=
  COMPREPLY=()
  while IFS=$'\\t' read -r value rest; do
    case $value in
      :*) directive=\${value#:} ;;
      *) COMPREPLY+=("\${value#"\${current%"$part"}"}") ;;
    esac
  done < <(forkpoint ${COMPLETE_VERB} "\${words[@]:1}" 2> /dev/null)
  [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *= ]] && compopt -o nospace
  case $directive in
    files) compopt -o filenames; mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$part") ;;
    dirs) compopt -o filenames; mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$part") ;;
    commands) mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -c -- "$part") ;;
  esac
}
complete -F _forkpoint forkpoint
`;

const ZSH = `#compdef forkpoint
# forkpoint completion for zsh: eval "$(forkpoint completion zsh)", or a file _forkpoint in a directory of $fpath
_forkpoint() {
  local -a described open
  local value rest directive=nothing
  while IFS=$'\\t' read -r value rest; do
    case $value in
      :*) directive=\${value#:} ;;
      *=) open+=("\${value//:/\\\\:}:$rest") ;;
      *) described+=("\${value//:/\\\\:}:$rest") ;;
    esac
  done < <(forkpoint ${COMPLETE_VERB} "\${(@)words[2,CURRENT]}" 2> /dev/null)
  (( \${#described} )) && _describe forkpoint described
  (( \${#open} )) && _describe forkpoint open -S ''
  case $directive in
    files) _files ;;
    dirs) _files -/ ;;
    commands) _command_names -e ;;
  esac
}
if [[ \${funcstack[1]-} == _forkpoint ]]; then _forkpoint "$@"; else compdef _forkpoint forkpoint; fi
`;

const FISH = `# forkpoint completion for fish: forkpoint completion fish | source
function __forkpoint_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l current (commandline -ct)
  for line in (forkpoint ${COMPLETE_VERB} $words[2..-1] 2> /dev/null)
    switch $line
      case ':files'
        __fish_complete_path $current
      case ':dirs'
        __fish_complete_directories $current
      case ':commands'
        __fish_complete_command
      case ':*'
      case '*'
        echo $line
    end
  end
end
complete -c forkpoint -f -a '(__forkpoint_complete)'
`;

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };

/** Returns whether a word names a shell that completion knows. */
export function isShell(word: string): word is Shell {
  return Object.hasOwn(SCRIPTS, word);
}

/** Returns the script that makes a shell complete forkpoint's command lines. */
export function completionScript(shell: Shell): string {
  return SCRIPTS[shell];
}

/** Returns a completion as the scripts read it: `value TAB description` a line, and `:directive` last. */
export function completionLines({ candidates, directive }: Completion): string {
  const lines = candidates.map(
    ({ value, description }) =>
      `${safeText(value)}\t${safeText(description).replaceAll(/\s+/g, ' ').slice(0, 80)}`,
  );
  return `${[...lines, `:${directive}`].join('\n')}\n`;
}
