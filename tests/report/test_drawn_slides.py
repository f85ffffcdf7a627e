from slideunet.report import drawn_slides, gallery


def test_all_pictures_of_a_page_stay_below_15_mb():
    crops = len(gallery.ERRORS) * gallery.SHOWN * gallery.CROP_BYTES
    masks = drawn_slides.MASKS_SHOWN * drawn_slides.MASK_BYTES
    # Base64 adds a third; 1.5 MB are left for text and figures.
    assert (drawn_slides.PICTURE_BYTES + crops + masks) * 4 / 3 < 13_500_000


def test_pictures_of_many_slides_are_thumbnails_with_their_share_of_the_page(tmp_path, monkeypatch):
    budgets = []
    monkeypatch.setattr(drawn_slides, "in_page", lambda budget: budgets.append(("in page", budget)))
    monkeypatch.setattr(drawn_slides, "beside_page", lambda *own: budgets.append(("beside", own[-1])))
    for cases, unlabelled in ((1, 0), (50, 0), (40, 24), (51, 0), (800, 24), (0, 0)):
        drawn_slides._keep(cases, unlabelled, tmp_path, "files")
    assert [kind for kind, _ in budgets] == ["in page", "in page", "beside", "beside", "beside", "in page"]
    assert budgets[1][1] * 4 * 50 <= drawn_slides.PICTURE_BYTES
    assert 2000 < budgets[4][1] <= drawn_slides.PICTURE_BYTES / (4 * 800 + 3 * 24)
    assert budgets[3][1] == drawn_slides.THUMBNAIL_BYTES
