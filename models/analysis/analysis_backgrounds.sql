{{ fact('background') }}
