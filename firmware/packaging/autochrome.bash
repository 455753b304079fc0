# Completion of autochrome(1) for bash.
_autochrome() {
    local word=${COMP_WORDS[COMP_CWORD]} choices=
    if [ "$COMP_CWORD" -eq 1 ]; then
        choices='demo run colorize model bench --help --version'
    else
        case ${COMP_WORDS[1]} in
            demo) choices='--frames --out --listen' ;;
            run) choices='--input --output --model --temperature --saturation --range --frames --fps --live --console' ;;
            colorize) choices='--clip --model --temperature --saturation' ;;
            model) choices='info --json' ;;
            bench) choices='--model --threads --frames --json' ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
}
complete -o default -F _autochrome autochrome
