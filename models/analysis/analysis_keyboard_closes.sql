{{ fact('keyboard_close') }}
