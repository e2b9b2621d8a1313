def checks(options):
    return iter(())
