package qupath.lib.objects

/** An object that is the feature of a GeoJSON file. */
class PathObject {
    Map feature

    UUID getID() { UUID.fromString(feature.id) }

    String getName() { feature.properties.name }

    void setName(String name) { feature.properties.name = name }

    String getPathClass() { feature.properties.classification?.name }

    boolean isTile() { feature.properties.objectType == 'tile' }

    PathObject getROI() { this }

    boolean isArea() { feature.geometry.type.endsWith('Polygon') }
}
