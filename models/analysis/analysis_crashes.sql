{{ fact('crash') }}
