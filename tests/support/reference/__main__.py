"""Fill every page of docs/reference."""

from tests.support.reference.sections import fill_pages

if __name__ == "__main__":
    for page in fill_pages():
        print(f"written: {page}")
