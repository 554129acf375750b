"""`python -m swin_deploy` is the `swin-deploy` command."""

from swin_deploy.console import main

if __name__ == "__main__":
    main()
