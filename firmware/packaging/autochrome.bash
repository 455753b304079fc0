# Completion of autochrome(1) for bash. A test sees that no option of `autochrome --help` is missing.
_autochrome() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} choices=
    if [ "$COMP_CWORD" -eq 1 ]; then
        choices='demo run colorize model bench list-cameras calibrate record serial-sim config check-config doctor help --help --version'
    else
        # What stands behind an option; other values are files.
        case $before in
            --range) choices='full limited' ;;
            --night) choices='auto on off' ;;
            --input | -i) choices="v4l2:auto test-pattern - $(compgen -G '/dev/video*' | sed 's/^/v4l2:/')" ;;
            --output | -o) choices='http://127.0.0.1:8080 display: null -' ;;
            --listen) choices='127.0.0.1:8080 0.0.0.0:8080 none' ;;
            --panel) choices=$(compgen -G '/dev/serial/by-id/*'; compgen -G '/dev/tty[AU]*') ;;
            --host) choices=$(uname -n) ;;
            --model | --token-file | --out | --to | --record | --config | --script) ;;
            --frames | --fps | --threads | --temperature | --saturation | --hue | --mix | --split | --seconds | --set) return ;;
            *)
                case ${COMP_WORDS[1]} in
                    demo) choices='--frames --out --listen --token-file --host --help' ;;
                    run)
                        choices='--input --output --config --set --model --threads --temperature --saturation --hue --mix --split --night --range --wait --frames --fps --live'
                        choices+=' --record --panel --token-file --host --help'
                        ;;
                    record) choices='--input --to --frames --help' ;;
                    list-cameras | doctor) choices='--json --help' ;;
                    calibrate) choices='--input --seconds --card --help' ;;
                    serial-sim) choices='--script --help' ;;
                    config) choices='show --origin --diff --json --config --set --help' ;;
                    colorize) choices='--clip --model --threads --temperature --saturation --help' ;;
                    model) choices='info --json --help' ;;
                    bench) choices='--model --threads --frames --json --help' ;;
                esac
                ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
    # A colon ends a word for bash: what stands before it is there already.
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$word"
    fi
}
complete -o default -o bashdefault -F _autochrome autochrome
